"""What a server sent, as values and errors. No I/O here: the two clients share it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from sirocco.client.errors import (
    AIConnectionError,
    AIError,
    AIProtocolError,
    AIStreamError,
    AITimeout,
    refused,
)
from sirocco.wire.envelope import JsonObject
from sirocco.wire.sse import Decoder

REQUEST_ID_HEADER = "cf-ai-req-id"
_DONE = "[DONE]"
_LONGEST_EVENT_BYTES = 16 << 20
_LONGEST_TEXT_SHOWN = 200


def is_stream(response: httpx.Response) -> bool:
    """Tell whether the answer comes as events."""
    kind = str(response.headers.get("content-type", "")).partition(";")[0]
    return response.is_success and kind.strip().lower() == "text/event-stream"


def result_of(response: httpx.Response) -> Any:
    """Take the result of an answer that was read whole.

    Raises: AIRefused if it is an error; AIProtocolError if it is not of the API's form.
    """
    request_id = response.headers.get(REQUEST_ID_HEADER)
    envelope = _object(response.content)
    if envelope is not None and response.is_success and envelope.get("success") is True:
        return envelope.get("result")
    code, message = _first_error(envelope or {})
    if message is None and (envelope is None or response.is_success):
        raise AIProtocolError(
            f"the answer is not one of the API: {response.text[:_LONGEST_TEXT_SHOWN]!r}",
            status=response.status_code, request_id=request_id,
        )  # fmt: skip
    raise refused(
        message or response.reason_phrase, status=response.status_code, code=code,
        request_id=request_id,
    )  # fmt: skip


def connection_error(error: httpx.HTTPError, timeout_s: float | None) -> AIError:
    """Translate what httpx says."""
    if isinstance(error, httpx.ConnectTimeout):
        return AITimeout("the server took no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return AITimeout(f"nothing came from the server for {timeout_s:g} s")
    return AIConnectionError(f"no answer from the server: {error or type(error).__name__}")


class EventReader:
    """From the bytes of a stream to its events.

    Args:
        response: only its headers are looked at.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.is_done = False
        self._decoder = Decoder()
        self._n_bytes_since_event = 0
        self._request_id = response.headers.get(REQUEST_ID_HEADER)

    def feed(self, piece: bytes) -> Iterator[JsonObject]:
        """Give every event that `piece` completes, up to the one that says it is whole.

        Raises: AIStreamError at an event that is an error; AIProtocolError at one that is none.
        """
        self._n_bytes_since_event += len(piece)
        for data in self._decoder.feed(piece):
            self._n_bytes_since_event = 0
            if data.strip() == _DONE:
                self.is_done = True
                return
            yield self._event(data)
        if self._n_bytes_since_event > _LONGEST_EVENT_BYTES:
            raise self._protocol_error("an event of the stream has no end")

    def end(self) -> None:
        """Say that the stream has ended. Raises: AIStreamError if it was not whole."""
        if not self.is_done:
            raise AIStreamError(
                "the stream ended before the answer was whole", request_id=self._request_id
            )

    def broken(self, error: httpx.HTTPError, timeout_s: float | None) -> AIError:
        """Translate a connection that broke in the middle."""
        if isinstance(error, httpx.TimeoutException):
            return connection_error(error, timeout_s)
        return AIStreamError(
            f"the connection broke before the answer was whole: {error or type(error).__name__}",
            request_id=self._request_id,
        )

    def _event(self, data: str) -> JsonObject:
        event = _object(data)
        if event is None:
            raise self._protocol_error(f"an event is not an object: {data[:_LONGEST_TEXT_SHOWN]!r}")
        if event.get("success") is False or event.get("errors"):
            code, message = _first_error(event)
            raise AIStreamError(
                message or "the stream broke off", code=code, request_id=self._request_id
            )
        return event

    def _protocol_error(self, message: str) -> AIProtocolError:
        return AIProtocolError(message, request_id=self._request_id)


def _object(text: str | bytes) -> JsonObject | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _first_error(envelope: JsonObject) -> tuple[int | None, str | None]:
    errors = envelope.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return None, None
    code, message = first.get("code"), first.get("message")
    return code if isinstance(code, int) else None, message if isinstance(message, str) else None
