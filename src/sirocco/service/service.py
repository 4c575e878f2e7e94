"""Run a model for a caller: find it, start it, put the prompt into its form, let it answer."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog, CatalogEntry
from sirocco.engine.process.client import EngineClient
from sirocco.engine.process.generation import Generation
from sirocco.engine.request import Request
from sirocco.errors import (
    Aborted,
    InvalidInput,
    LoraNotSupported,
    OutOfCapacity,
    SiroccoError,
    Unavailable,
)
from sirocco.service.access import Caller
from sirocco.service.answer import Answer, AnswerOrigin, settle
from sirocco.service.engine_pool import EnginePool
from sirocco.service.grammar_guard import GrammarGuard
from sirocco.service.metrics import Metrics
from sirocco.service.prompt_size import check_prompt_size
from sirocco.service.quota import Quota, worst_case
from sirocco.service.usage_writer import UsageWriter
from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.chat import encode_messages, encode_prompt, encode_raw_prompt
from sirocco.tokenizer.tools import tool_grammar
from sirocco.types import Message, SamplingParams, Tool

_SHORT_PROMPT = 8192
"""Characters that are tokenised where they are: it takes a millisecond or two."""

_TURN = 64
"""Characters that an empty turn of a conversation counts for."""

_DRAIN_TICK_S = 0.02

_BACKGROUND_WEIGHT = 0.1
"""Share of what runs in the background, beside the same account's other requests."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be generated.

    Attributes:
        subject: a prompt, or a conversation.
        raw: the prompt is already in the model's own form; no template.
        lora: name of an adapter; no model takes one yet.
        reject_if_busy: refuse rather than wait for others.
        tools: what the answer may call in place of text.
        must_call: text is no answer.
        only_tool: the one that may be called; None is any.
        several_calls: more than one in an answer.
    """

    subject: str | Sequence[Message]
    sampling: SamplingParams
    raw: bool = False
    lora: str | None = None
    reject_if_busy: bool = False
    tools: Sequence[Tool] = ()
    must_call: bool = False
    only_tool: str | None = None
    several_calls: bool = True

    @property
    def n_characters(self) -> int:
        """Characters of the prompt, or of all turns of the conversation."""
        if isinstance(self.subject, str):
            return len(self.subject)
        return sum(len(message.content) for message in self.subject)

    @property
    def bound(self) -> SamplingParams:
        """The sampling, bound to the grammar of the tools if there are any."""
        if not self.tools:
            return self.sampling
        grammar = tool_grammar(
            self.tools, must_call=self.must_call, only=self.only_tool, several=self.several_calls
        )
        return replace(self.sampling, grammar=grammar)


@dataclass(frozen=True, slots=True)
class _Standing:
    """How a request stands in an engine beside others.

    Attributes:
        account, weight: as the engine is told.
        is_redone: see `AnswerOrigin`.
    """

    account: str
    weight: float
    is_redone: bool = False


class Service:
    """The platform's main use case.

    Args:
        stand_in: let the embedded model answer for models whose weights are not here.
        queue_timeout_s: an answer that has not begun by then is refused.
        time_limit_s: an answer that is not whole by then is broken off.
        metrics: counts what answers take.
        grammar_time_s: time on a processor that a request's grammar may take.
    """

    def __init__(
        self, catalog: Catalog, engines: EnginePool, usage: UsageWriter, quota: Quota, *,
        stand_in: bool, queue_timeout_s: float | None = None, time_limit_s: float | None = None,
        metrics: Metrics | None = None, grammar_time_s: float = 0.25,
    ) -> None:  # fmt: skip
        self.catalog = catalog
        self.engines = engines
        self._usage = usage
        self._quota = quota
        self._stand_in = stand_in
        self._queue_timeout_s = queue_timeout_s
        self._time_limit_s = time_limit_s
        self._metrics = metrics or Metrics()
        self._metrics.watch_engines(engines)
        self._is_draining = False
        self._grammars = GrammarGuard(grammar_time_s)

    async def aclose(self) -> None:
        """End what was started to look at requests."""
        await self._grammars.aclose()

    @property
    def is_draining(self) -> bool:
        """The server is shutting down: nothing new is taken."""
        return self._is_draining

    @property
    def keeps_usage(self) -> bool:
        """What requests use is written down; if the disk is full and the database away, it is not.

        Answers that are live go on, and their usage waits in memory. New ones are refused.
        """
        return self._usage.is_safe

    def is_busy(self, model_id: str) -> bool:
        """Tell whether a model has no time left now; one that is not started has."""
        engine = self.running_engine(model_id)
        return engine is not None and engine.is_busy

    async def run(self, caller: Caller, model_id: str, job: Job, *, request_id: str) -> Answer:
        """Let a model answer; the caller of this must close what it returns.

        Raises: RateLimited; UnknownModel; LoraNotSupported; ModelNotInstalled; InvalidInput;
            PromptTooLong; DailyQuotaExceeded; OutOfCapacity; Unavailable while the server shuts
            down or the engine does not come up; SetupError if the model's engine cannot be started.
        """
        asked = self.admit(caller, model_id)
        standing = _Standing(caller.account_id, caller.weight)
        return await self._run(caller, asked, job, request_id, standing)

    async def run_in_background(
        self, caller: Caller, model_id: str, job: Job, *, request_id: str
    ) -> Answer:
        """Let a model answer in the time that others leave; raises what `run` does.

        It never waits for a place, and takes none from anybody: OutOfCapacity means later. It
        counts as an account of its own with a small share, and not in the account's minute. The
        request id may come again: see `AnswerOrigin.is_redone`.
        """
        self.check_open()
        asked = self.catalog.find(model_id)
        share = caller.weight * _BACKGROUND_WEIGHT
        standing = _Standing(f"{caller.account_id}/background", share, is_redone=True)
        patient = replace(job, reject_if_busy=True)
        return await self._run(caller, asked, patient, request_id, standing)

    async def _run(
        self, caller: Caller, asked: CatalogEntry, job: Job, request_id: str, standing: "_Standing"
    ) -> Answer:
        if job.lora is not None:
            raise LoraNotSupported(asked.model_id)
        serving = self.serving(asked)
        model = await self.engines.get(serving)
        engine = await model.engine()
        engine.check_room(standing.account)
        check_prompt_size(
            job.n_characters, model.longest_token_bytes,
            max_tokens=job.sampling.max_tokens, limit_tokens=engine.limits.limit_tokens,
        )  # fmt: skip
        token_ids = await tokenized(model.tokenizer, serving, job)
        sampling = job.bound
        if sampling.grammar is not None:
            await self._grammars.check(sampling.grammar, standing.account)
        limits = engine.limits
        limits.check(token_ids, sampling)
        request = Request(
            request_id, token_ids, sampling, account=standing.account, weight=standing.weight,
            wait_limit_s=self._queue_timeout_s, time_limit_s=self._time_limit_s,
        )  # fmt: skip
        origin = AnswerOrigin(
            caller, asked.model_id, serving.model_id, asked.price, is_redone=standing.is_redone
        )
        worst = worst_case(asked.price, len(token_ids), sampling, limits.limit_tokens)
        async with self._quota.reserved(caller, request_id, worst):
            engine = await model.engine()
            self.check_open()
            if job.reject_if_busy and engine.is_busy:
                raise OutOfCapacity("others are waiting, and the request does not want to")
            generation = engine.submit(request, on_over=lambda over: self._settle(over, origin))
        return Answer(generation, origin, model.tokenizer, offers_tools=bool(job.tools))

    def admit(self, caller: Caller, model_id: str) -> CatalogEntry:
        """Take a request, and count it; give the model that it asks for.

        Raises: Unavailable while the server shuts down; RateLimited; UnknownModel.
        """
        self.check_open()
        self._quota.admit(caller)
        return self.catalog.find(model_id)

    def known_model_id(self, model_id: str) -> str:
        """Give the id under which a model stands in the catalogue; "" if it does not."""
        try:
            return self.catalog.find(model_id).model_id
        except SiroccoError:
            return ""

    def serving(self, asked: CatalogEntry) -> CatalogEntry:
        """Give the model that answers: perhaps one that stands in. Raises: ModelNotInstalled."""
        if not asked.is_installed and self._stand_in:
            return self.catalog.find(EMBEDDED_MODEL_ID)
        return self.catalog.installed(asked)

    def check_open(self) -> None:
        """Raise Unavailable while the server shuts down, or could not write down what is used."""
        if self._is_draining:
            raise Unavailable("The server is shutting down.")
        if not self.keeps_usage:
            raise Unavailable("Usage cannot be written down at this moment.")

    def running_engine(self, model_id: str) -> EngineClient | None:
        """Return the engine that would answer for a model, if one runs; start nothing."""
        try:
            asked = self.catalog.find(model_id)
            # An engine that runs is found without a look at the disk, whether weights are there.
            running = self.engines.running_engine(asked)
            return running or self.engines.running_engine(self.serving(asked))
        except SiroccoError:
            return None

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> None:
        """Take nothing new, and let what is live end; then end the rest with an error.

        Args:
            timeout_s: what live answers get; `hurry` ends it early.
        """
        self._is_draining = True
        until_s = time.monotonic() + timeout_s
        await self.engines.refuse()
        while self.engines.n_live and not hurry.is_set() and time.monotonic() < until_s:
            await asyncio.sleep(_DRAIN_TICK_S)
        self.engines.break_off(Aborted("the server is shutting down"))

    def _settle(self, over: Generation, origin: AnswerOrigin) -> None:
        """Keep what an answer used; without a row nothing else would end its reservation."""
        self._metrics.answered(over, origin)
        if not settle(over, origin, self._usage):
            self._quota.give_back(origin.caller, over.request_id)


async def tokenized(tokenizer: Tokenizer, entry: CatalogEntry, job: Job) -> list[int]:
    """Make the prompt's token ids; a long one in a thread, so that nobody waits for it."""
    n_turns = 1 if isinstance(job.subject, str) else len(job.subject)
    if job.n_characters + n_turns * _TURN <= _SHORT_PROMPT:
        return _prompt_token_ids(tokenizer, entry, job)
    return await asyncio.to_thread(_prompt_token_ids, tokenizer, entry, job)


def _prompt_token_ids(tokenizer: Tokenizer, entry: CatalogEntry, job: Job) -> list[int]:
    """Put a prompt or a conversation into the form that the model was tuned with."""
    if isinstance(job.subject, str):
        if job.raw:
            return encode_raw_prompt(tokenizer, job.subject)
        if entry.template is None:
            _require_no_tools(entry, job)
            return encode_prompt(tokenizer, job.subject)
        messages = [Message("user", job.subject)]
        if entry.default_system is not None:
            messages.insert(0, Message("system", entry.default_system))
        return encode_messages(tokenizer, messages, entry.template, job.tools)
    if entry.template is None:
        raise InvalidInput(
            f"'/messages' need a chat template, and {entry.model_id} has none: give '/prompt'"
        )
    return encode_messages(tokenizer, job.subject, entry.template, job.tools)


def _require_no_tools(entry: CatalogEntry, job: Job) -> None:
    if job.tools:
        raise InvalidInput(f"'/tools' need a chat template, and {entry.model_id} has none")
