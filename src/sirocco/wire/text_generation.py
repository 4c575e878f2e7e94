"""Text generation: the body of `POST …/ai/run/{model}`, and the results it is answered with.

Every documented member is either read here or refused by name. Members that are not documented
are what the public service ignores too; their names are kept, so that the caller can be told.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from sirocco.errors import InvalidInput
from sirocco.types import Grammar, Message, SamplingParams, ToolCall
from sirocco.wire.body import without_nulls
from sirocco.wire.envelope import JsonObject
from sirocco.wire.messages import Messages, conversation
from sirocco.wire.response_format import ANY_OBJECT, ResponseFormat, grammar_of
from sirocco.wire.strict import Integer, Stop, Strict
from sirocco.wire.tools import ToolUse, flat_calls
from sirocco.wire.violations import refusal

DEFAULT_MAX_TOKENS = 256

_NOT_IN_THIS_VERSION = ("functions",)
_MAY_BE_EMPTY = (*_NOT_IN_THIS_VERSION, "requests", "response_format")
_OPTIONS = ("rejectIfBusy", "queueRequest")
_EMPTY: tuple[object, ...] = ([], {}, {"type": "text"})
"""Values that ask for nothing: no functions, plain text."""


class RunOptions(Strict):
    """How the platform is to treat the request."""

    reject_if_busy: bool = Field(default=False, alias="rejectIfBusy")


class TextGeneration(ToolUse):
    """What is to be generated, and how: `prompt` or `messages`, and the sampling fields."""

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Messages | None = None
    raw: Annotated[bool, Field(strict=False)] = False
    stream: Annotated[bool, Field(strict=False)] = False
    max_tokens: Annotated[Integer, Field(ge=1)] = DEFAULT_MAX_TOKENS
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.6
    top_p: Annotated[float, Field(ge=0.001, le=1)] = 1.0
    top_k: Annotated[Integer, Field(ge=1, le=50)] | None = None
    seed: Annotated[Integer, Field(ge=1, le=9_999_999_999)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=2)] = 1.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    stop: Stop | None = None
    response_format: ResponseFormat | None = None
    guided_json: dict[str, Any] | None = None
    lora: str | None = None
    options: RunOptions = RunOptions()

    @property
    def sampling(self) -> SamplingParams:
        """The sampling fields, in the engine's words."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k or 0,
            seed=self.seed,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            stop=tuple(stop),
            grammar=self.grammar,
        )

    @property
    def grammar(self) -> Grammar | None:
        """What the answer must look like, if it is to be JSON."""
        if self.guided_json is not None:
            # LangChain writes an empty schema for "any JSON object".
            schema = self.guided_json or ANY_OBJECT
            return Grammar("json_schema", json.dumps(schema), "guided_json")
        return grammar_of(self.response_format)

    @property
    def subject(self) -> str | tuple[Message, ...]:
        """The prompt, or the conversation."""
        if self.prompt is not None:
            return self.prompt
        return conversation(self.messages or ())


def read_text_generation(members: Mapping[str, Any]) -> TextGeneration:
    """Check a body; null is as good as absent.

    Raises: InvalidInput naming every field that is wrong, its value and its limit.
    """
    members = _without_nulls(members)
    for name in _MAY_BE_EMPTY:
        if name in members and members[name] in _EMPTY:
            del members[name]
    for name in _NOT_IN_THIS_VERSION:
        if name in members:
            raise InvalidInput(f"'/{name}' is not supported by this version of Sirocco")
    if "requests" in members:
        raise InvalidInput("'/requests' are a batch, which needs 'queueRequest' to be true")
    require_one_subject(members)
    try:
        inputs = TextGeneration.model_validate(members)
    except ValidationError as error:
        raise refusal(error) from error
    _require_no_conflict(inputs)
    return inputs


def require_one_subject(members: Mapping[str, Any]) -> None:
    """Raise InvalidInput unless exactly one of prompt and messages is given."""
    given = [name for name in ("prompt", "messages") if name in members]
    if len(given) == 2:
        raise InvalidInput("oneOf at '/' not met, 2 matches: give '/prompt' or '/messages'")
    if not given:
        raise InvalidInput(
            "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
            "required properties at '/' are 'messages'"
        )


def unused_names(members: Mapping[str, Any]) -> list[str]:
    """Name the members that no documented field has, in their order; nothing reads them."""
    known = {*TextGeneration.model_fields, *_NOT_IN_THIS_VERSION, "requests"}
    unused = [name for name in members if name not in known]
    options = members.get("options")
    if isinstance(options, dict):
        unused += [f"options.{name}" for name in options if name not in _OPTIONS]
    return unused


def usage(
    n_prompt_tokens: int,
    n_output_tokens: int,
    n_cached_tokens: int = 0,
    *,
    neurons: float | None = None,
) -> JsonObject:
    """Write the counts of an answer, and what it cost if that is counted."""
    counts: JsonObject = {
        "prompt_tokens": n_prompt_tokens,
        "completion_tokens": n_output_tokens,
        "total_tokens": n_prompt_tokens + n_output_tokens,
        "prompt_tokens_details": {"cached_tokens": n_cached_tokens},
    }
    return counts if neurons is None else counts | {"neurons": round(neurons, 6)}


NEURONS_HEADER = "cf-ai-neurons"
"""What a whole answer cost. A streamed one tells it in its last event: headers come before."""


def neurons_header(neurons: float) -> str:
    """Write neurons for the header, which has two decimals."""
    return f"{neurons:.2f}"


def whole_result(
    response: object, counts: JsonObject, tool_calls: Sequence[ToolCall] = (),
    cut_off_by: str | None = None,
) -> JsonObject:  # fmt: skip
    """Write an answer that is sent at once, without its envelope.

    Args:
        response: text; in JSON mode the value itself.
        cut_off_by: why calls ended before they were whole, which only this member tells.
    """
    written = {"response": response, "tool_calls": flat_calls(tool_calls)}
    return {**written, **_cut_off(cut_off_by), "usage": counts}


def calls_chunk(tool_calls: Sequence[ToolCall], padding: str) -> JsonObject:
    """Write the tools that an answer that is streamed calls: all of them in one piece.

    Clients that join calls from pieces tell them apart by their index.
    """
    calls = [{**call, "index": index} for index, call in enumerate(flat_calls(tool_calls))]
    return {"response": "", "tool_calls": calls, "p": padding}


def chunk(text: str, padding: str) -> dict[str, str]:
    """Write a piece of an answer that is streamed."""
    return {"response": text, "p": padding}


def last_chunk(counts: JsonObject, cut_off_by: str | None = None) -> JsonObject:
    """Write what comes after the last piece, before the end of the stream.

    Args:
        cut_off_by: why calls ended before they were whole.
    """
    return {"response": "", **_cut_off(cut_off_by), "usage": counts}


def _cut_off(reason: str | None) -> JsonObject:
    return {} if reason is None else {"finish_reason": reason}


def _require_no_conflict(inputs: TextGeneration) -> None:
    if inputs.raw and inputs.messages:
        raise InvalidInput("'/raw' needs '/prompt': '/messages' are put into the chat template")
    if inputs.raw and inputs.offered:
        raise InvalidInput("'/raw' and '/tools' exclude each other: tools stand in the template")
    if inputs.offered and inputs.grammar is not None:
        raise InvalidInput("'/tools' and '/response_format' exclude each other")


def _without_nulls(members: Mapping[str, Any]) -> JsonObject:
    """Leave out what is null in the body, and in its options."""
    cleaned = without_nulls(members)
    if isinstance(cleaned.get("options"), dict):
        cleaned["options"] = without_nulls(cleaned["options"])
    return cleaned
