"""`POST …/ai/v1/completions`."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import Response

from sirocco.api.answering import answer_headers, begun, whole, whole_answer
from sirocco.api.auth import CallerOfAccount
from sirocco.api.body import members_of
from sirocco.api.document import GENERATING, answers, body
from sirocco.api.streaming import EventStream, usage_of
from sirocco.service.answer import Answer
from sirocco.service.service import Job
from sirocco.wire import sse
from sirocco.wire.answers import CompletionAnswer
from sirocco.wire.body_schema import body_schema
from sirocco.wire.openai import completions
from sirocco.wire.openai.generation import unused_names
from sirocco.wire.openai.logprobs import completion_logprobs
from sirocco.wire.sse import Padding

router = APIRouter()


@router.post(
    "/accounts/{account_id}/ai/v1/completions",
    summary="Go on with a text",
    openapi_extra=body(body_schema(completions.Completion, refused=completions.REFUSED)),
    responses=answers(CompletionAnswer, GENERATING, streams=True),
)
async def complete(
    request: Request, account_id: str, caller: CallerOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """Go on with a text, which gets no template, in OpenAI's shape; with `stream`, in chunks."""
    members = await members_of(request)
    inputs = completions.read_completion(members)
    job = Job(inputs.text, inputs.in_engines_words, raw=True,
              reject_if_busy=inputs.options.reject_if_busy)  # fmt: skip
    answer = await begun(request, caller, inputs.model, job)
    headers = answer_headers(answer, unused_names(completions.Completion, members))
    if inputs.stream:
        events = _events(answer, inputs, request.app.state.padding)
        return EventStream(answer, events, headers)
    choices = []
    for index, one in enumerate(await whole(request, answer)):
        logprobs = None
        if inputs.logprobs is not None:
            logprobs = completion_logprobs(one.logprobs, answer.token_bytes)
        choices.append(completions.choice(index, one.text, str(one.finish_reason), logprobs))
    written = completions.completion(answer.request_id, inputs.model, choices, usage_of(answer))
    return whole_answer(answer, written, headers)


async def _events(
    answer: Answer, inputs: completions.Completion, padding: Padding
) -> AsyncIterator[bytes]:
    request_id, model = answer.request_id, inputs.model
    n_characters = dict.fromkeys(range(inputs.n), 0)
    async for piece in answer:
        logprobs = None
        if inputs.logprobs is not None and piece.logprobs:
            n_before = n_characters[piece.index]
            logprobs = completion_logprobs(piece.logprobs, answer.token_bytes, n_before)
            n_characters[piece.index] += sum(map(len, logprobs["tokens"]))
        reason = None if piece.finish_reason is None else str(piece.finish_reason)
        if piece.text or logprobs or reason:
            one = completions.choice(piece.index, piece.text, reason, logprobs)
            yield sse.encode(completions.text_chunk(request_id, model, one, padding.draw()))
    if inputs.stream_options.include_usage:
        yield sse.encode(completions.completion(request_id, model, [], usage_of(answer)))
    yield sse.DONE
