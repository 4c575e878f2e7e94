"""What `GET …/ai/plan` may be asked. Ours; the public API has no planner."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sirocco.wire.violations import refusal


class PlanQuery(BaseModel):
    """A network, a machine, and how it is used. What is left out is as in `sirocco plan`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(max_length=200, description="A preset, or a catalogue id.")] = (
        "mistral-7b"
    )
    on: Annotated[str, Field(max_length=100, description="A machine, or `local`.")] = "h200"
    weights: str = "auto"
    kv_format: str = "float16"
    context: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    usd_per_hour: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    n_kv_heads: Annotated[int, Field(ge=1)] | None = None
    window: Annotated[int, Field(ge=1)] | Literal["none"] | None = None


def read_plan_query(parameters: Mapping[str, str]) -> PlanQuery:
    """Check the parameters of an address; an empty value is as good as absent.

    Raises: InvalidInput naming every parameter that is wrong, its value and its limit.
    """
    try:
        return PlanQuery.model_validate({k: v for k, v in parameters.items() if v})
    except ValidationError as error:
        raise refusal(error) from error
