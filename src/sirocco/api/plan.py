"""`GET …/ai/plan`: `sirocco plan` over HTTP, for the page. Ours; the public API has none."""

from dataclasses import asdict, replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import ReaderOfAccount
from sirocco.api.document import LOOKING, SEARCHING, answers
from sirocco.catalog import Catalog
from sirocco.errors import ConfigError, InvalidInput, UnknownModel
from sirocco.kvcache.format import KV_FORMATS
from sirocco.model.config import ModelConfig
from sirocco.plan.curves import over_batches, over_contexts
from sirocco.plan.hardware import LOCAL, Hardware, hardware, known_hardware
from sirocco.plan.local import read_local
from sirocco.plan.needs import BITS_PER_WEIGHT
from sirocco.plan.planning import Question, plan
from sirocco.plan.report import compared, row
from sirocco.plan.subject import plannable, shape_of, weights_on
from sirocco.wire.answers import PlanChoices, Planned, Success
from sirocco.wire.body_schema import query_parameters
from sirocco.wire.envelope import JsonObject, success
from sirocco.wire.plan import PlanQuery, read_plan_query

router = APIRouter(prefix="/accounts/{account_id}/ai/plan")

_DEFAULT_CONTEXT = 4096
_QUERY = query_parameters(PlanQuery)


@router.get(
    "",
    summary="What fits, how fast it is, what it costs",
    openapi_extra=_QUERY,
    responses=answers(Success[Planned], (*SEARCHING, UnknownModel)),
)
async def make_plan(request: Request, caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """Plan a network on a machine; it is compared with itself as MHA, GQA and MQA."""
    query = read_plan_query(request.query_params)
    try:
        return JSONResponse(success(_planned(query, request)))
    except ConfigError as error:
        raise InvalidInput(str(error)) from error


@router.get(
    "/choices",
    summary="Models and machines that can be planned for",
    responses=answers(Success[PlanChoices], LOOKING),
)
async def list_choices(request: Request, caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """List what `GET …/ai/plan` takes. This machine is there once `sirocco plan` measured it."""
    local = _measured(request)
    machines = [*([local] if local else []), *known_hardware().values()]
    return JSONResponse(
        success({
            "models": plannable(_catalog(request)),
            "machines": [_machine_written(machine) for machine in machines],
            "weights": list(BITS_PER_WEIGHT),
            "kv_formats": list(KV_FORMATS),
        })
    )  # fmt: skip


def _planned(query: PlanQuery, request: Request) -> JsonObject:
    machine = _machine(query, request)
    question = _question(query, machine, shape_of(query.model, _catalog(request)))
    return {
        "model": query.model,
        "shape": _shape_written(question.shape),
        "machine": _machine_written(machine),
        "weights": question.weights,
        "kv_format": question.kv_format,
        "context": question.context,
        "plan": row("as asked", plan(question, machine), is_this_model=True),
        "compared": compared(question, machine),
        "by_batch": over_batches(question, machine),
        "by_context": over_contexts(question, machine),
    }


def _question(query: PlanQuery, machine: Hardware, shape: ModelConfig) -> Question:
    if query.window is not None:
        shape = replace(shape, window=None if query.window == "none" else query.window)
    weights = weights_on(machine) if query.weights == "auto" else query.weights
    context = query.context or min(_DEFAULT_CONTEXT, shape.max_seq_len)
    question = Question(shape, weights, query.kv_format, context=context, batch=query.batch)
    return question if query.n_kv_heads is None else question.with_kv_heads(query.n_kv_heads)


def _machine(query: PlanQuery, request: Request) -> Hardware:
    if query.on == LOCAL:
        machine = _measured(request)
        if machine is None:
            raise InvalidInput("'/on' this machine was not measured yet: run `sirocco plan` once")
    else:
        machine = hardware(query.on)
    if query.usd_per_hour is None:
        return machine
    return replace(machine, usd_per_hour=query.usd_per_hour)


def _shape_written(shape: ModelConfig) -> JsonObject:
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size")
    written: JsonObject = {name: getattr(shape, name) for name in names}
    return {
        **written, "window": shape.window, "max_seq_len": shape.max_seq_len,
        "n_parameters": shape.n_parameters,
    }  # fmt: skip


def _machine_written(machine: Hardware) -> JsonObject:
    written = {**asdict(machine), "operations_per_s": dict(machine.operations_per_s)}
    del written["steps"]  # the engine's own; what they come to is in the plan
    return written


def _measured(request: Request) -> Hardware | None:
    return read_local(request.app.state.settings.home)


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.service.catalog
    return catalog
