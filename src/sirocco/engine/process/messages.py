"""What the API's process and an engine's process say to each other, and how it is written down.

Plain values in msgpack. A decoder builds the types named here and nothing else, so no message
can name a class, a function or a file of its own choice.
"""

from collections.abc import Mapping

import msgspec

from sirocco.engine.block_view import BlockView
from sirocco.engine.config import EngineConfig
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.inspection.shape import EngineShape
from sirocco.engine.request import EngineLimits, Request
from sirocco.errors import (
    Aborted,
    BackendUnavailable,
    CheckpointError,
    ConfigError,
    EngineFault,
    InputError,
    Interrupted,
    InvalidInput,
    LimitError,
    ModelFault,
    OutOfCapacity,
    SetupError,
    SiroccoError,
    TimedOut,
)
from sirocco.logs import LogFormat
from sirocco.types import FinishReason, TokenLogprob


class _Message(msgspec.Struct, array_like=True, tag=True):
    """Written as an array that begins with the name of its class."""


class _Part(msgspec.Struct, array_like=True):
    """A part of a message, written as an array of its fields."""


class ErrorText(_Part):
    """An error on its way: the name of a class that `_ERRORS` knows, and its sentence."""

    name: str
    text: str


class Load(_Part):
    """How much an engine has to do: sequences, and blocks of its KV cache.

    Attributes:
        n_runnable: sequences that can run at once: as many as may, or as have blocks.
    """

    n_waiting: int = 0
    n_running: int = 0
    n_runnable: int = 0
    n_free_blocks: int = 0
    n_blocks: int = 0


class Piece(_Part):
    """What one step added to one answer; the fields are those of the engine's own `Piece`."""

    request_id: str
    text: str = ""
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    n_cached_tokens: int = 0
    index: int = 0
    is_last: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    error: ErrorText | None = None


# --- to the engine ---


class Start(_Message):
    """Which checkpoint to load, and how; the first message, and sent once.

    Attributes:
        config: its `max_waiting` bounds all answers that are live, running ones included.
        threads: of a CPU kernel; None is one per processor.
        gpus: devices that share the model, each with a process of its own.
        log_level, log_format: as of the server, whose log the lines go to.
    """

    folder: str
    config: EngineConfig
    device: str = "auto"
    weights: str = "auto"
    threads: int | None = None
    gpus: int = 1
    log_level: str = "info"
    log_format: LogFormat = "auto"


class Submit(_Message):
    """Let a request wait for its turn."""

    request: Request


class Abort(_Message):
    """End an answer; it is answered with a last piece if the answer is still there."""

    request_id: str


class Inspect(_Message):
    """Look inside of the network at work on a text, between steps."""

    request: InspectionRequest


class LookAtBlocks(_Message):
    """Tell which blocks a request's answers hold now."""

    request_id: str


class Stop(_Message):
    """End after the step in flight."""


# --- from an engine's first rank to the others ---


class Join(_Message):
    """Which rank to be; the first message, and sent once.

    Attributes:
        start: its device is cpu or cuda, and its weights are not auto.
        meeting: path of the file through which ranks find each other.
    """

    start: Start
    rank: int
    n_ranks: int
    meeting: str


class ForwardSpan(_Part):
    """The fields of `Span` in `attention/base.py`."""

    first_position: int
    n_tokens: int
    block_ids: list[int]
    n_reclaimed: int = 0


class Forward(_Message):
    """Run tokens through the network, as `ModelRunner.forward` does."""

    token_ids: list[int]
    spans: list[ForwardSpan]
    rows: list[int] | None = None


# --- from the engine ---


class Ready(_Message):
    """The engine is loaded and takes requests.

    Attributes:
        max_live: answers that may be there at once, waiting ones included.
    """

    limits: EngineLimits
    max_running: int
    max_live: int
    shape: EngineShape


class Failed(_Message):
    """The engine could not be loaded; nothing follows."""

    error: ErrorText


class Pieces(_Message):
    """All that one step gave, and how much there is to do after it."""

    pieces: list[Piece]
    load: Load


class Inspected(_Message):
    """A piece of an inspection; the fields are those of `InspectedPart` and `InspectedRows`."""

    request_id: str
    attention: bytes = b""
    following: tuple[TokenLogprob, ...] = ()
    is_last: bool = False
    error: ErrorText | None = None


class BlocksSeen(_Message):
    """The blocks of a request's answers, as they are between two steps."""

    request_id: str
    view: BlockView


class Heartbeat(_Message):
    """The process is alive, whatever its step is doing.

    Attributes:
        n_steps: finished so far; while there is work it grows, or a step hangs.
    """

    n_steps: int
    has_work: bool
    load: Load


ToEngine = Start | Submit | Abort | Inspect | LookAtBlocks | Stop | Join | Forward
FromEngine = Ready | Failed | Pieces | Inspected | BlocksSeen | Heartbeat

_ERRORS: Mapping[str, type[SiroccoError]] = {
    cls.__name__: cls
    for cls in (
        Aborted, BackendUnavailable, CheckpointError, ConfigError, EngineFault, InputError,
        Interrupted, InvalidInput, LimitError, ModelFault, OutOfCapacity, SetupError, SiroccoError,
        TimedOut,
    )
}  # fmt: skip

encode = msgspec.msgpack.Encoder().encode
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode


def error_text(error: SiroccoError) -> ErrorText:
    """Write an error down; one whose class is not in the table goes as its nearest parent."""
    name = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _ERRORS)
    return ErrorText(name, str(error))


def error_of(written: ErrorText) -> SiroccoError:
    """Make the error that was written down; an unknown name gives the root of the tree."""
    return _ERRORS.get(written.name, SiroccoError)(written.text)
