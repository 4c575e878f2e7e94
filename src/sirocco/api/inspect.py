"""`POST …/ai/inspect/{model}` and its kin: a look inside. Ours; the public API has none."""

import asyncio
import math
from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.answering import told_headers
from sirocco.api.auth import CallerOfAccount, ReaderOfAccount
from sirocco.api.body import members_of
from sirocco.api.disconnect import unless_disconnected
from sirocco.api.document import GENERATING, LOOKING, answers, body
from sirocco.api.errors import request_id_of
from sirocco.engine.block_view import BlockView, SequenceView
from sirocco.engine.inspection.shape import EngineShape
from sirocco.errors import Aborted, EngineFault, UnknownRequest
from sirocco.service.inspector import InspectionJob, Inspector, Look
from sirocco.service.service import Job
from sirocco.tokenizer.base import Tokenizer
from sirocco.types import SamplingParams, TokenLogprob
from sirocco.wire.answers import Blocks, Inspected, Success
from sirocco.wire.body_schema import body_schema, with_one_subject
from sirocco.wire.envelope import JsonObject, success
from sirocco.wire.inspection import (
    InspectionBody,
    TokenSeen,
    attention_written,
    read_inspection,
    unused_inspection_names,
)
from sirocco.wire.text_generation import NEURONS_HEADER, neurons_header, usage

router = APIRouter(prefix="/accounts/{account_id}/ai/inspect")

_BODY = with_one_subject(body_schema(InspectionBody))


@router.get(
    "/requests/{request_id}",
    summary="Which blocks of the KV cache an answer holds",
    responses=answers(Success[Blocks], (*LOOKING, UnknownRequest, EngineFault, Aborted)),
)
async def blocks_of_request(
    request: Request, request_id: str, caller: ReaderOfAccount
) -> Response:  # fmt: skip
    """Look at an answer of the account that is in the making, between two steps of its engine."""
    looking = _inspector(request).blocks(caller, request_id)
    view = await unless_disconnected(request.receive, looking)
    return JSONResponse(success(_view_written(view)))


@router.post(
    "/{model_id:path}",
    summary="Look inside of a model at work",
    openapi_extra=body(_BODY),
    responses=answers(Success[Inspected], GENERATING),
)
async def inspect_model(request: Request, model_id: str, caller: CallerOfAccount) -> Response:
    """Tell a text's tokens, what the model expected in their places, and what its heads look at."""
    if model_id.startswith("requests/"):  # an address of the other route
        raise HTTPException(405, headers={"allow": "GET"})
    members = await members_of(request)
    inputs = read_inspection(members)
    asking = _inspector(request).inspect(
        caller, model_id, _job_of(inputs), request_id=request_id_of(request)
    )
    look = await unless_disconnected(request.receive, asking)
    try:
        await unless_disconnected(request.receive, look.inspection.whole())
    finally:
        look.close()
    headers = told_headers(
        look.inspection.request_id, look.origin, unused_inspection_names(members)
    )
    headers[NEURONS_HEADER] = neurons_header(look.neurons)
    # Megabytes are written in a thread: everything else on the loop would wait for it.
    return await asyncio.to_thread(lambda: JSONResponse(success(_written(look)), headers=headers))


def _inspector(request: Request) -> Inspector:
    inspector: Inspector = request.app.state.inspector
    return inspector


def _job_of(body: InspectionBody) -> InspectionJob:
    job = Job(body.subject, SamplingParams(max_tokens=1), raw=body.raw)
    return InspectionJob(
        job,
        answer=body.answer,
        layers=None if body.layers is None else tuple(body.layers),
        heads=None if body.heads is None else tuple(body.heads),
        n_alternatives=body.alternatives,
        encoding=body.encoding,
    )


def _written(look: Look) -> JsonObject:
    asked = look.inspection.request
    n_tokens = len(asked.token_ids)
    tokens = _tokens_seen(look)
    return {
        "model": _model_written(look.origin.served_by, look.shape),
        "tokens": [token.written() for token in tokens[:-1]],
        "next": [token.written() for token in tokens[-1].alternatives],
        "attention": attention_written(
            look.inspection.attention, asked.encoding, asked.layers, asked.heads, n_tokens
        ),
        "usage": usage(n_tokens, 0, neurons=look.neurons),
    }


def _tokens_seen(look: Look) -> list[TokenSeen]:
    """Give the tokens of the text, and behind them the one that would come next."""
    first = _seen(look.tokenizer, look.inspection.request.token_ids[0])
    return [first, *(_following(look.tokenizer, row) for row in look.inspection.following)]


def _following(tokenizer: Tokenizer, row: TokenLogprob) -> TokenSeen:
    others = [_seen(tokenizer, token_id, logprob) for token_id, logprob in row.top]
    return _seen(tokenizer, row.token_id, row.logprob, others)


def _seen(
    tokenizer: Tokenizer,
    token_id: int,
    logprob: float | None = None,
    others: Sequence[TokenSeen] = (),
) -> TokenSeen:
    probability = None if logprob is None else math.exp(logprob)
    name = tokenizer.control_name(token_id)
    text = (tokenizer.token_bytes(token_id) or b"").decode("utf-8", "replace")
    return TokenSeen(token_id, name or text, name is not None, probability, others)


def _model_written(model_id: str, shape: EngineShape) -> JsonObject:
    return {
        "id": model_id,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "n_kv_heads": shape.n_kv_heads,
        "group_size": shape.group_size,
        "head_dim": shape.head_dim,
        "window": shape.window,
        "vocab_size": shape.vocab_size,
        "max_seq_len": shape.max_seq_len,
        "block_size": shape.block_size,
        "n_blocks": shape.n_blocks,
        "weights": shape.weights,
        "kv_format": shape.kv_format.name,
        "kv_bytes_per_token": shape.kv_bytes_per_token,
        "groupings": [
            {"n_kv_heads": other.n_kv_heads, "kv_bytes_per_token": other.kv_bytes_per_token}
            for other in shape.groupings
        ],
    }


def _view_written(view: BlockView) -> JsonObject:
    pool = view.pool
    return {
        "block_size": pool.block_size,
        "pool": {
            "n_blocks": pool.n_blocks, "free": pool.n_free, "idle": pool.n_idle,
            "held": pool.n_held,
        },
        "answers": [_sequence_written(seq, pool.block_size) for seq in view.sequences],
    }  # fmt: skip


def _sequence_written(seq: SequenceView, block_size: int) -> JsonObject:
    blocks = []
    for place, (block_id, n_sharers) in enumerate(zip(seq.block_ids, seq.n_sharers, strict=True)):
        index = seq.n_reclaimed + place
        n_filled = min(block_size, max(0, seq.n_computed - index * block_size))
        blocks.append({
            "id": block_id, "filled": n_filled, "cached": index < seq.n_found,
            "shared_by": n_sharers,
        })  # fmt: skip
    return {
        "index": seq.index,
        "running": seq.is_running,
        "prompt_tokens": seq.n_prompt_tokens,
        "tokens": seq.n_tokens,
        "computed": seq.n_computed,
        "given_back": seq.n_reclaimed,
        "blocks": blocks,
    }
