"""`GET …/ai/models/search` and its kin: what the catalogue holds, in the public form."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import ReaderOfAccount
from sirocco.api.document import SEARCHING, answers
from sirocco.catalog import Catalog, CatalogEntry
from sirocco.catalog.price import FREE
from sirocco.catalog.search import Search, page_of, source_of
from sirocco.errors import InvalidInput, UnknownModel
from sirocco.wire import models as wire
from sirocco.wire.answers import ModelRow, ModelSchemas, Named, Page, Success, Task
from sirocco.wire.body_schema import query_parameters
from sirocco.wire.envelope import JsonObject, success
from sirocco.wire.model_schema import input_schema, output_schema

router = APIRouter(prefix="/accounts/{account_id}/ai")

_QUERY = query_parameters(wire.ModelsQuery)
_MODEL = {
    "parameters": [
        {"name": "model", "in": "query", "required": True, "schema": {"type": "string"}}
    ]
}  # fmt: skip


@router.get(
    "/models/search",
    summary="Search the catalogue",
    openapi_extra=_QUERY,
    responses=answers(Page[ModelRow], SEARCHING),
)
async def search_models(request: Request, caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """List the models that match, page by page; a page beyond the last one is empty."""
    return models_page(request, request.query_params)


def models_page(request: Request, parameters: Mapping[str, str]) -> Response:
    """Answer a search. Raises: InvalidInput."""
    query = wire.read_models_query(parameters)
    wanted = Search(query.search, query.task, query.author, query.source, query.hide_experimental)
    limit_tokens = request.app.state.settings.max_seq_len
    found = [_row(e, limit_tokens) for e in _catalog(request).entries if wanted.matches(e)]
    return _page(query, found)


@router.get(
    "/models/schema",
    summary="Schemas of a model's input and output",
    openapi_extra=_MODEL,
    responses=answers(Success[ModelSchemas], (*SEARCHING, UnknownModel)),
)
async def model_schema(request: Request, caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """Describe the body and the answer of a model as JSON Schemas."""
    model = request.query_params.get("model")
    if not model:
        raise InvalidInput("required properties at '/' are 'model'")
    _catalog(request).find(model)
    return JSONResponse(success({"input": input_schema(), "output": output_schema()}))


@router.get(
    "/tasks/search",
    summary="Tasks that the catalogue has models for",
    openapi_extra=_QUERY,
    responses=answers(Page[Task], SEARCHING),
)
async def search_tasks(request: Request, caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """List the tasks."""
    names = dict.fromkeys(entry.task for entry in _catalog(request).entries)
    query = wire.read_models_query(request.query_params)
    return _page(query, [wire.task(name) for name in names])


@router.get(
    "/authors/search",
    summary="Authors of the catalogue's models",
    openapi_extra=_QUERY,
    responses=answers(Page[Named], SEARCHING),
)
async def search_authors(request: Request, caller: ReaderOfAccount) -> Response:  # noqa: ARG001
    """List the authors."""
    names = dict.fromkeys(entry.author for entry in _catalog(request).entries)
    return _page(
        wire.read_models_query(request.query_params), [wire.author(name) for name in names]
    )


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.service.catalog
    return catalog


def _page(query: wire.ModelsQuery, found: Sequence[JsonObject]) -> Response:
    rows = page_of(found, query.page, query.per_page)
    return JSONResponse(wire.page(rows, query.page, query.per_page, len(found)))


def _row(entry: CatalogEntry, limit_tokens: int | None) -> JsonObject:
    price, is_priced = entry.price, entry.price != FREE
    limits = [n for n in (entry.context_window, limit_tokens) if n is not None]
    return wire.model_row(
        model_id=entry.model_id,
        public_id=entry.public_id,
        source=source_of(entry),
        description=entry.description,
        task_name=entry.task,
        tags=entry.tags,
        properties={
            "context_window": min(limits) if entry.context_window else None,
            "beta": True if entry.is_experimental else None,
            # What follows is ours; the public service has no such properties.
            "is_installed": entry.is_installed,
            "unsupported": entry.unsupported,
            "aliases": ", ".join(entry.aliases) or None,
            "hub": entry.hub,
            "public_context_window": entry.public_context_window,
            "input_neurons_per_m_tokens": price.prompt if is_priced else None,
            "output_neurons_per_m_tokens": price.output if is_priced else None,
            "input_usd_per_m_tokens": price.prompt_usd if is_priced else None,
            "output_usd_per_m_tokens": price.output_usd if is_priced else None,
        },
    )
