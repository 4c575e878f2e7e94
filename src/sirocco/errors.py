"""The one tree of errors. It knows no HTTP: `wire/status.py` alone maps a class to a status.

SiroccoError
├── InputError              the caller sent something we cannot use
│   ├── InvalidInput        a field has a wrong type or value
│   ├── UnknownModel        no such model id
│   ├── UnknownRequest      no live answer of the account has this id
│   ├── MissingBody         the request carries no body
│   ├── LoraNotSupported    the request wants an adapter
│   ├── UnknownBatch        the account has no such batch
│   ├── PromptTooLong       the prompt and its answer cannot fit the model
│   ├── RequestTooLarge     more bytes than we read
│   ├── HeaderTooLarge      the same, before the body
│   └── MalformedRequest    what came is not HTTP, or no sane use of it
├── AuthError               the caller did not prove who they are
│   ├── MissingCredentials
│   ├── MalformedCredentials  the header does not have the form of credentials
│   ├── JunkCredentials     it has, but what it holds is not an API token
│   ├── WrongCredentials    an API token, but not one for this
│   ├── InvalidApiToken     the answer to an API token that asks whether it is good
│   └── MissingScope        a good API token of the account, which may do other things
├── LimitError              right request, wrong moment
│   ├── OutOfCapacity       too many requests wait, or this one waited too long
│   ├── RateLimited         too many requests of the account in a minute
│   ├── BatchesFull         too much of the account waits in batches
│   ├── DailyQuotaExceeded  what the account may use in a day does not suffice
│   └── Unavailable         the server is shutting down, or the engine does not start
│       └── DatabaseAway    the database does not answer, or cannot write
├── Interrupted             the answer ended before it was whole
│   ├── Aborted
│   ├── TimedOut            it took longer than its time limit
│   ├── JsonNotMet          it was to be JSON, and was cut off before its end
│   ├── EngineFault         the engine failed while it made this answer
│   └── ModelFault          the model's numbers for this answer are of no use
└── SetupError              this installation cannot do it
    ├── ConfigError         a setting has a bad value
    ├── CheckpointError     a folder is not a checkpoint we can load
    ├── HubError            a checkpoint could not be pulled
    ├── ModelNotInstalled   the catalogue knows the model; its weights are not here
    └── BackendUnavailable  a device, a kernel or a format is not available
"""


class SiroccoError(Exception):
    """Any error that Sirocco raises on purpose; its text is one sentence for a person."""


class InputError(SiroccoError):
    """The caller sent something that cannot be used."""


class InvalidInput(InputError):
    """A field has a wrong type or a value outside its limits; the text names all three."""


class UnknownModel(InputError):
    """The model id is not in the catalogue."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"No such model {model_id} or task")
        self.model_id = model_id


class UnknownRequest(InputError):
    """No answer of the account that is in the making has this request id."""


class MissingBody(InputError):
    """The request carries no body."""


class LoraNotSupported(InputError):
    """The request wants a LoRA adapter, and the model takes none."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"The model {model_id} does not support LoRa inference")


class UnknownBatch(InputError):
    """The account has no such batch, or its results were deleted."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            f"'/request_id' must be of a batch whose results are kept, got {batch_id[:40]!r}"
        )


class PromptTooLong(InputError):
    """The prompt and its answer cannot fit into the model or its KV cache."""

    def __init__(self, n_prompt_tokens: int, max_tokens: int, limit_tokens: int) -> None:
        super().__init__(
            f"The estimated number of input and maximum output tokens "
            f"({n_prompt_tokens} + {max_tokens}) exceeded this model context window limit "
            f"({limit_tokens})"
        )
        self.n_prompt_tokens = n_prompt_tokens
        self.max_tokens = max_tokens
        self.limit_tokens = limit_tokens


class RequestTooLarge(InputError):
    """The request has more bytes than the server reads."""


class HeaderTooLarge(InputError):
    """The request's header has more bytes, or more lines, than the server reads."""


class MalformedRequest(InputError):
    """What came over a connection is not HTTP, or no use of it that is served."""


class AuthError(SiroccoError):
    """The caller did not prove who they are."""


class MissingCredentials(AuthError):
    """The request has no credentials at all."""


class MalformedCredentials(AuthError):
    """The Authorization header does not have the form `Bearer <API token>`."""


class JunkCredentials(AuthError):
    """The header has the right form, but what it holds cannot be an API token."""


class WrongCredentials(AuthError):
    """The API token is well formed, but unknown, revoked, or not for this account."""


class InvalidApiToken(AuthError):
    """An API token asked whether it is good, and it is unknown, expired or revoked."""


class MissingScope(AuthError):
    """The API token is good and the account's, but may not do this."""


class LimitError(SiroccoError):
    """A right request at a moment when it cannot be served.

    Attributes:
        retry_after_s: whole seconds, at least 1, after which another try may go better.
    """

    def __init__(self, text: str = "", *, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = max(1, retry_after_s)


class OutOfCapacity(LimitError):
    """Too many requests wait, or this one has waited too long."""


class Unavailable(LimitError):
    """Nobody is served at this moment: the server shuts down, or an engine does not come up."""


class DatabaseAway(Unavailable):
    """The database does not answer, or cannot write; the text says why, which is for the log."""


class RateLimited(LimitError):
    """The account sent more requests in a minute than it may."""


class BatchesFull(LimitError):
    """Too many requests, or bytes of them, of the account wait in batches."""


class DailyQuotaExceeded(LimitError):
    """The request may take more than what is left of the account's neurons or tokens today."""


class Interrupted(SiroccoError):
    """The answer ended before it was whole."""


class Aborted(Interrupted):
    """The caller left, or the engine is being stopped, before the answer was whole."""


class TimedOut(Interrupted):
    """The answer took longer than its time limit."""


class JsonNotMet(Interrupted):
    """The answer was to be JSON, and its tokens were used up before its end."""


class EngineFault(Interrupted):
    """The engine failed while it made this answer, by no fault of the request."""


class ModelFault(Interrupted):
    """The model computed logits that are not finite, or tokens without text; this answer ends."""


class SetupError(SiroccoError):
    """This installation cannot do what was asked of it."""


class ConfigError(SetupError):
    """A setting or an option has a bad value."""


class CheckpointError(SetupError):
    """A folder is not a checkpoint that can be loaded; the text names every fault found."""


class HubError(SetupError):
    """A checkpoint could not be pulled from its hub."""


class ModelNotInstalled(SetupError):
    """The catalogue knows the model, but its weights are not on this machine."""


class BackendUnavailable(SetupError):
    """A device, a kernel or a weight format is not available here."""
