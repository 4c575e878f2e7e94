"""The only map from a class of error to its HTTP status, public code, text and envelope.

A class is looked up along its MRO, so a new error class has a status from its parent until
it gets a row of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sirocco.errors import (
    Aborted,
    AuthError,
    BatchesFull,
    DailyQuotaExceeded,
    DatabaseAway,
    EngineFault,
    HeaderTooLarge,
    InputError,
    InvalidApiToken,
    JsonNotMet,
    JunkCredentials,
    LimitError,
    LoraNotSupported,
    MalformedCredentials,
    MalformedRequest,
    MissingBody,
    MissingCredentials,
    MissingScope,
    ModelFault,
    ModelNotInstalled,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    SiroccoError,
    TimedOut,
    Unavailable,
    UnknownBatch,
    UnknownModel,
    UnknownRequest,
)
from sirocco.wire.envelope import JsonObject, gateway_failure, inference_failure

Layer = Literal["gateway", "inference"]
"""Who answers: routing and authentication, or inference. Each has an envelope of its own."""


@dataclass(frozen=True, slots=True)
class Row:
    """How a class of errors is told."""

    http: int
    code: int
    describe: Callable[[SiroccoError], str] = str
    layer: Layer = "inference"
    error_chain: tuple[Mapping[str, object], ...] | None = None

    def text(self, error: SiroccoError) -> str:
        """Describe an error in text that can be sent: a body may name half a surrogate pair."""
        return self.describe(error).encode("utf-8", "replace").decode()


def status_of(error: SiroccoError) -> tuple[int, int]:
    """Return the HTTP status and the public error code."""
    row = _row_of(error)
    return row.http, row.code


def describe(error: SiroccoError) -> str:
    """Return the public text, without the request id that `failure` appends.

    Credentials get fixed texts, which tell a guesser nothing; so do faults of the
    installation, whose own texts may name its folders and belong in the log.
    """
    row = _row_of(error)
    return row.text(error)


def layer_of(error: SiroccoError) -> Layer:
    """Return the layer that answers this error."""
    return _row_of(error).layer


def failure(error: SiroccoError, request_id: str) -> JsonObject:
    """Return the whole envelope of this error; the gateway layer shows no request id."""
    row = _row_of(error)
    if row.layer == "gateway":
        return gateway_failure(row.code, row.text(error), error_chain=row.error_chain)
    return inference_failure(row.code, row.text(error), request_id)


def public_row(error: type[SiroccoError]) -> Row:
    """Return how a class of errors is told."""
    return next(_ROWS[cls] for cls in error.__mro__ if cls in _ROWS)


def _row_of(error: SiroccoError) -> Row:
    return public_row(type(error))


def _prefixed(prefix: str) -> Callable[[SiroccoError], str]:
    return lambda error: f"{prefix}{error}"


def _fixed(text: str) -> Callable[[SiroccoError], str]:
    return lambda _error: text


_ROWS: dict[type, Row] = {
    # The public table has no code for a server's own fault. 1000 lies outside its ranges
    # (2xxx AI Gateway, 3xxx request, 5xxx model), so no client takes it for something else.
    SiroccoError: Row(500, 1000, _fixed("AiError: Internal server error")),
    InputError: Row(400, 5006, _prefixed("AiError: Bad input: Error: ")),
    UnknownModel: Row(400, 5007, _prefixed("AiError: No such model: ")),
    # As an account id that leads nowhere: an id of another account's request is none here.
    UnknownRequest: Row(404, 7003, str, "gateway"),
    MissingBody: Row(400, 3003, _prefixed("Request is missing headers or body: ")),
    LoraNotSupported: Row(405, 5005),
    UnknownBatch: Row(404, 5006, _prefixed("AiError: Bad input: Error: ")),
    PromptTooLong: Row(413, 5021),
    RequestTooLarge: Row(413, 3006),
    # Of what is wrong before a route is known, 6003 is the one code that was captured.
    HeaderTooLarge: Row(431, 6003, _prefixed("Invalid request headers: "), "gateway"),
    MalformedRequest: Row(400, 6003, _prefixed("Invalid request: "), "gateway"),
    AuthError: Row(401, 10000, _fixed("Authentication error"), "gateway"),
    MissingCredentials: Row(
        400,
        9106,
        _fixed("Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
        "gateway",
    ),
    MalformedCredentials: Row(
        400,
        6003,
        _fixed("Invalid request headers"),
        "gateway",
        ({"code": 6111, "message": "Invalid format for Authorization header"},),
    ),
    JunkCredentials: Row(400, 9106, _fixed("Authentication failed (status: 400)"), "gateway"),
    InvalidApiToken: Row(401, 1000, _fixed("Invalid API Token"), "gateway"),
    # Both 401 and 403 were captured for an API token that is good, but not for this. Whoever
    # holds the account's other API tokens may be told that this one is the wrong one of them.
    MissingScope: Row(403, 10000, _fixed("Authentication error"), "gateway"),
    LimitError: Row(429, 3040, _fixed("Capacity temporarily exceeded, please try again.")),
    # 3040 again, since the caller can only try later; 503 tells proxies to try another server.
    Unavailable: Row(503, 3040),
    DatabaseAway: Row(503, 3040, _fixed("The database does not answer at this moment.")),
    RateLimited: Row(429, 3021, _fixed("rate limiting: inference request per min rate reached")),
    # The caller has to wait for its own requests, and is told how many there are.
    BatchesFull: Row(429, 3040),
    # Documented is 3036, but what the public service sends is 4006, with this sentence's words
    # "daily free allocation of … neurons". Programs look for either of them.
    DailyQuotaExceeded: Row(429, 4006, _prefixed("AiError: ")),
    Aborted: Row(408, 3008),
    TimedOut: Row(408, 3007),
    JsonNotMet: Row(400, 5024, _fixed("AiError: JSON Mode couldn't be met")),
    # The public service uses 5012 where the model server itself failed. There the status
    # is 422, but here the request was right, so it is 500: clients may try again.
    ModelFault: Row(500, 5012),
    EngineFault: Row(500, 5012),
    # The model id is right, so 5007 ("no such model") would send people after a typo. No
    # machine here can run it now, which is what 3040 says; 503 instead of 429 tells that the
    # caller did not ask too often, and clients retry both. The text says what is missing.
    ModelNotInstalled: Row(503, 3040),
}
