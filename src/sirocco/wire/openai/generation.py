"""What chat completions, completions and responses have in common."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from sirocco.errors import InvalidInput
from sirocco.types import SamplingParams
from sirocco.wire.body import without_nulls
from sirocco.wire.envelope import JsonObject
from sirocco.wire.strict import Integer, Stop, Strict
from sirocco.wire.text_generation import RunOptions
from sirocco.wire.violations import refusal


class StreamOptions(Strict):
    """What a stream tells besides its text."""

    include_usage: bool = True


class Generation(Strict):
    """How text is to be generated, in OpenAI's words.

    Where OpenAI and the public service have different defaults, the service's hold: a program
    that moves between `/ai/run` and `/ai/v1` gets the same answers.
    """

    model: str
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[Integer, Field(ge=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    n: Annotated[Integer, Field(ge=1, le=128)] = 1
    seed: Annotated[Integer, Field(ge=-(2**63), lt=2**64)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    stop: Stop | None = None
    options: RunOptions = RunOptions()

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, max_tokens: int, **more: Any) -> SamplingParams:
        """Return the fields in the engine's words. Raises: InvalidInput."""
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k or 0,
            min_p=self.min_p,
            seed=None if self.seed is None else self.seed % 2**63,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=self._bias(),
            stop=self.stops,
            n=self.n,
            **more,
        )

    def _bias(self) -> dict[int, float] | None:
        try:
            return {int(name): bias for name, bias in (self.logit_bias or {}).items()} or None
        except ValueError:
            raise InvalidInput("the names in '/logit_bias' must be token ids") from None


AnyGeneration = TypeVar("AnyGeneration", bound=Generation)


def read(
    schema: type[AnyGeneration], members: Mapping[str, Any], refused: Mapping[str, tuple[Any, ...]]
) -> AnyGeneration:
    """Check a body; null is as good as absent.

    Args:
        refused: documented members that are not supported, and values that ask for nothing.

    Raises: InvalidInput naming every field that is wrong, its value and its limit.
    """
    members = without_nulls(members)
    for name, nothing in refused.items():
        if name in members and members.pop(name) not in nothing:
            raise InvalidInput(f"'/{name}' is not supported by this version of Sirocco")
    if isinstance(members.get("options"), dict):
        members["options"] = without_nulls(members["options"])
    try:
        return schema.model_validate(members)
    except ValidationError as error:
        raise refusal(error) from error


def unused_names(schema: type[Generation], members: Mapping[str, Any]) -> list[str]:
    """Name the members that no field has; nothing reads them."""
    return [name for name in members if name not in schema.model_fields]


def head(prefix: str, request_id: str, kind: str, model: str) -> JsonObject:
    """Begin an object of OpenAI's API."""
    return {"id": f"{prefix}-{request_id}", "object": kind, "created": int(time.time()),
            "model": model}  # fmt: skip
