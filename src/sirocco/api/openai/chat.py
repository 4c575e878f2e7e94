"""`POST …/ai/v1/chat/completions`."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import Response

from sirocco.api.answering import answer_headers, begun, whole, whole_answer
from sirocco.api.auth import CallerOfAccount
from sirocco.api.body import members_of
from sirocco.api.document import GENERATING, answers, body
from sirocco.api.streaming import EventStream, usage_of
from sirocco.engine.process.messages import Piece
from sirocco.service.answer import Answer, Spoken
from sirocco.service.service import Job
from sirocco.service.tool_reader import ToolReader
from sirocco.tokenizer.tools import CallsRead
from sirocco.types import FinishReason
from sirocco.wire import sse
from sirocco.wire.answers import ChatAnswer
from sirocco.wire.body_schema import body_schema
from sirocco.wire.envelope import JsonObject
from sirocco.wire.openai import chat
from sirocco.wire.openai.generation import unused_names
from sirocco.wire.openai.logprobs import chat_logprobs
from sirocco.wire.sse import Padding

router = APIRouter()


@router.post(
    "/accounts/{account_id}/ai/v1/chat/completions",
    summary="Answer a conversation",
    openapi_extra=body(body_schema(chat.ChatCompletion, refused=chat.REFUSED)),
    responses=answers(ChatAnswer, GENERATING, streams=True),
)
async def complete_chat(
    request: Request, account_id: str, caller: CallerOfAccount  # noqa: ARG001
) -> Response:  # fmt: skip
    """Answer a conversation in OpenAI's shape; with `stream`, in chunks."""
    members = await members_of(request)
    inputs = chat.read_chat_completion(members)
    answer = await begun(request, caller, inputs.model, _job(inputs))
    headers = answer_headers(answer, unused_names(chat.ChatCompletion, members))
    if inputs.stream:
        events = _events(answer, inputs, request.app.state.padding)
        return EventStream(answer, events, headers)
    spoken = await whole(request, answer)
    choices = [_choice(index, one, answer, inputs) for index, one in enumerate(spoken)]
    written = chat.completion(answer.request_id, inputs.model, choices, usage_of(answer))
    return whole_answer(answer, written, headers)


def _job(inputs: chat.ChatCompletion) -> Job:
    return Job(
        subject=inputs.conversation,
        sampling=inputs.in_engines_words,
        reject_if_busy=inputs.options.reject_if_busy,
        tools=inputs.offered,
        must_call=inputs.must_call,
        only_tool=inputs.only_tool,
        several_calls=inputs.parallel_tool_calls,
    )


def _choice(index: int, one: Spoken, answer: Answer, inputs: chat.ChatCompletion) -> JsonObject:
    logprobs = chat_logprobs(one.logprobs, answer.token_bytes) if inputs.logprobs else None
    reason = _reason(one.called, one.finish_reason)
    return chat.choice(index, one.text, one.called.calls, reason, logprobs)


def _reason(called: CallsRead, finish_reason: FinishReason) -> str:
    """Tell of calls only where all of them are there: a program goes on when it reads that."""
    return "tool_calls" if called.calls and not called.is_cut_off else str(finish_reason)


async def _events(
    answer: Answer, inputs: chat.ChatCompletion, padding: Padding
) -> AsyncIterator[bytes]:
    chunks = chat.Chunks(answer.request_id, inputs.model)
    voices: dict[int, _Voice] = {}
    async for piece in answer:
        if piece.index not in voices:
            voices[piece.index] = _Voice(piece.index, answer, inputs, chunks)
            yield sse.encode(chunks.first(piece.index))
        for chunk in voices[piece.index].chunks_of(piece, padding):
            yield sse.encode(chunk)
    if inputs.stream_options.include_usage:
        yield sse.encode(chunks.usage(usage_of(answer)))
    yield sse.DONE


class _Voice:
    """One of the answers in a stream."""

    def __init__(
        self, index: int, answer: Answer, inputs: chat.ChatCompletion, chunks: chat.Chunks
    ) -> None:
        self._index, self._answer, self._inputs, self._chunks = index, answer, inputs, chunks
        self._reader = ToolReader() if answer.offers_tools else None

    def chunks_of(self, piece: Piece, padding: Padding) -> list[JsonObject]:
        """Write what a piece adds."""
        text = piece.text if self._reader is None else self._reader.feed(piece.text)
        logprobs = None
        if self._inputs.logprobs and piece.logprobs:
            logprobs = chat_logprobs(piece.logprobs, self._answer.token_bytes)
        written = []
        if text or logprobs:
            written.append(self._chunks.text(self._index, text, logprobs, padding.draw()))
        if piece.finish_reason is None:
            return written
        called = CallsRead() if self._reader is None else self._reader.end()
        if called.calls:
            written.append(self._chunks.calls(self._index, called.calls, padding.draw()))
        return [*written, self._chunks.end(self._index, _reason(called, piece.finish_reason))]
