"""Words that every room shares: messages, sampling parameters, the reasons an answer ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Literal

from sirocco.errors import InvalidInput

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the caller can run for the model.

    Attributes:
        parameters: JSON Schema of its arguments, an object, as JSON text.
    """

    name: str
    description: str = ""
    parameters: str = '{"type":"object"}'


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants to have run.

    Attributes:
        arguments: a JSON object, as text.
        call_id: by which the caller's result names it.
    """

    name: str
    arguments: str
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        tool_calls: what the assistant wanted to have run.
        tool_name: whose result a message of the role `tool` is.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the model ended it, or a stop string was produced
    LENGTH = "length"  # max_tokens or max_seq_len was reached
    ABORT = "abort"  # the caller left


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log-probability (nats) of one output token, and of the likeliest alternatives."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like, to the letter.

    Attributes:
        kind: json_schema, or lark as llguidance reads it.
        text: the schema as JSON, or the grammar.
        field: of the request, for an error to name.
    """

    kind: Literal["json_schema", "lark"]
    text: str
    field: str = "grammar"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen and when an answer ends.

    Attributes:
        max_tokens: output tokens at most, ≥ 1.
        temperature: 0 is greedy; logits are divided by it otherwise; 0 … 5.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the likeliest tokens whose probabilities add up to p; 0 < p ≤ 1.
        min_p: drop tokens less likely than min_p times the likeliest; 0 … 1.
        seed: the same seed and request give the same answer; None draws a fresh one.
        repetition_penalty: logits of tokens already in prompt or output are divided
            (positive) or multiplied (negative) by it; > 0, 1 does nothing.
            Source: Keskar 2019 §4.1.
        frequency_penalty: subtracted once per earlier occurrence in the output; −2 … 2.
        presence_penalty: subtracted once if the token is in the output; −2 … 2.
        stop: the answer ends before the first of these strings; they are not part of it.
        logit_bias: added to the logits of these token ids; −100 … 100 each.
        logprobs: how many alternatives to report beside each token; None reports nothing.
        n: answers per prompt.
        ignore_eos: go on past the model's end-of-sequence token.
        grammar: what the answer must look like; None lets it be anything.

    Raises: InvalidInput naming the field, its value and its limit.
    """

    max_tokens: int = 256
    temperature: float = 0.6
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] | None = None
    logprobs: int | None = None
    n: int = 1
    ignore_eos: bool = False
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "top_k", "seed", "logprobs", "n"):
            _require_integer(name, getattr(self, name), optional=name in ("seed", "logprobs"))
        for name, (low, high) in _RANGES.items():
            _require_range(name, getattr(self, name), low, high)
        if self.top_p == 0.0:
            raise InvalidInput("'/top_p' must be > 0, got 0")
        if self.repetition_penalty == 0.0:
            raise InvalidInput("'/repetition_penalty' must be > 0, got 0")
        if self.grammar is not None and self.ignore_eos:
            raise InvalidInput("'/ignore_eos' must be false with '/grammar', which tells the end")
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        object.__setattr__(self, "stop", tuple(self.stop))
        if not all(isinstance(text, str) and text for text in self.stop):
            raise InvalidInput(f"'/stop' must hold non-empty strings, got {self.stop!r}")
        for token_id, bias in (self.logit_bias or {}).items():
            _require_range(f"logit_bias/{token_id}", bias, -100.0, 100.0)


_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, math.inf),
    "temperature": (0.0, 5.0),
    "top_k": (0, math.inf),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "seed": (0, 2**63 - 1),
    "repetition_penalty": (0.0, 10.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "logprobs": (0, 20),
    "n": (1, 128),
}
assert set(_RANGES) <= {field.name for field in fields(SamplingParams)}


def _require_integer(name: str, value: object, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"Type mismatch of '/{name}', {value!r} is not an integer")


def _require_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is None:
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # math.isfinite would turn an integer into a float, and fail for one of 400 digits.
    if not is_number or not -math.inf < value < math.inf:
        raise InvalidInput(f"Type mismatch of '/{name}', {value!r} is not a finite number")
    if value < low:
        raise InvalidInput(f"'/{name}' must be >= {low:g}, got {value!r}")
    if value > high:
        raise InvalidInput(f"'/{name}' must be <= {high:g}, got {value!r}")
