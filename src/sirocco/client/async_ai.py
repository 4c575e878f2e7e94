"""`AsyncAI`: the same as `AI`, for an event loop."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from sirocco.client.address import Address
from sirocco.client.ai import CONNECT_TIMEOUT_S, DEFAULT_TIMEOUT_S
from sirocco.client.answers import (
    REQUEST_ID_HEADER,
    EventReader,
    connection_error,
    is_stream,
    result_of,
)
from sirocco.client.errors import AIProtocolError
from sirocco.client.model_pages import ModelPages
from sirocco.wire.envelope import JsonObject


class AsyncEvents(AsyncIterator[JsonObject]):
    """The events of a streamed answer, as they come.

    Use it in an `async with`: an answer that is left early is then ended on the server, too.
    """

    def __init__(self, response: httpx.Response, timeout_s: float | None) -> None:
        self._response = response
        self._events = _events(response, timeout_s)

    @property
    def request_id(self) -> str | None:
        """The answer's id on the server, as its usage and `AsyncAI.blocks` know it."""
        found: str | None = self._response.headers.get(REQUEST_ID_HEADER)
        return found

    async def __anext__(self) -> JsonObject:
        """Wait for an event.

        Raises: AIStreamError where the stream breaks off; AITimeout; AIProtocolError.
        """
        return await anext(self._events)

    async def close(self) -> None:
        """Close the connection; the server ends an answer whose client has left."""
        await self._events.aclose()
        await self._response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.close()


class AsyncAI:
    """A client of one account on one server.

    Args:
        base_url: of the server; by default SIROCCO_URL, else http://127.0.0.1:8787.
        account_id, api_token: by default SIROCCO_ACCOUNT_ID and SIROCCO_API_TOKEN.
        timeout_s: of silence; an answer that keeps coming may take longer. None waits for ever.
        http: an httpx client of your own, for proxies or certificates; it is not closed here.

    Raises: ConfigError.
    """

    def __init__(
        self,
        base_url: str | None = None,
        account_id: str | None = None,
        api_token: str | None = None,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._address = Address.resolve(base_url, account_id, api_token)
        self._timeout_s = timeout_s
        self._is_owner = http is None
        self._http = http or httpx.AsyncClient()
        self._timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)

    async def run(self, model: str, inputs: Mapping[str, Any]) -> Any:
        """Ask a model.

        Returns: the result, an object as the API documents it; with `"stream": True` in the
            inputs, `AsyncEvents`.
        Raises: AIError.
        """
        response = await self._send("POST", self._address.of("run", model), json=dict(inputs))
        if is_stream(response):
            return AsyncEvents(response, self._timeout_s)
        result = await self._whole(response)
        if inputs.get("stream") is True:
            raise AIProtocolError("a stream was asked for, and the answer is none")
        return result

    async def inspect(self, model: str, inputs: Mapping[str, Any]) -> JsonObject:
        """Look inside of a model at work on a text: tokens, what was expected, attention.

        Args:
            inputs: `prompt` or `messages`, and what is wanted, as the API documents it.

        Raises: AIError.
        """
        url = self._address.of("inspect", model)
        result: JsonObject = await self._whole(await self._send("POST", url, json=dict(inputs)))
        return result

    async def blocks(self, request_id: str) -> JsonObject:
        """See which blocks of the KV cache a running answer holds.

        Args:
            request_id: that of the events that are being read.

        Raises: AIInputError if no such answer of the account is in the making; AIError.
        """
        url = self._address.of("inspect", "requests", request_id)
        result: JsonObject = await self._whole(await self._send("GET", url))
        return result

    async def models(
        self,
        search: str | None = None,
        *,
        task: str | None = None,
        author: str | None = None,
        source: int | None = None,
        hide_experimental: bool | None = None,
    ) -> list[JsonObject]:
        """List the models of the server's catalogue, all pages of it. Raises: AIError."""
        pages = ModelPages({
            "search": search, "task": task, "author": author, "source": source,
            "hide_experimental": hide_experimental,
        })  # fmt: skip
        url = self._address.of("models", "search")
        while pages.take(await self._whole(await self._send("GET", url, params=pages.params))):
            pass
        return pages.models

    async def close(self) -> None:
        """Close the connections that are kept open."""
        if self._is_owner:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.close()

    async def _send(self, method: str, url: str, **content: Any) -> httpx.Response:
        request = self._http.build_request(
            method, url, headers=self._address.headers, timeout=self._timeout, **content
        )
        try:
            return await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise connection_error(error, self._timeout_s) from error

    async def _whole(self, response: httpx.Response) -> Any:
        try:
            await response.aread()
        except httpx.HTTPError as error:
            raise connection_error(error, self._timeout_s) from error
        finally:
            await response.aclose()
        return result_of(response)


async def _events(
    response: httpx.Response, timeout_s: float | None
) -> AsyncGenerator[JsonObject, None]:
    reader = EventReader(response)
    try:
        async for piece in response.aiter_bytes():
            for event in reader.feed(piece):
                yield event
            if reader.is_done:
                return
    except httpx.HTTPError as error:
        raise reader.broken(error, timeout_s) from error
    finally:
        await response.aclose()
    reader.end()
