"""Look inside for a caller: what heads look at in a text, and which blocks an answer holds."""

from dataclasses import dataclass

from sirocco.catalog import CatalogEntry
from sirocco.engine.block_view import BlockView
from sirocco.engine.inspection.request import Encoding, InspectionRequest
from sirocco.engine.inspection.shape import EngineShape
from sirocco.engine.process.inspections import Inspection
from sirocco.errors import InvalidInput, UnknownRequest
from sirocco.service.access import Caller
from sirocco.service.answer import AnswerOrigin, settle
from sirocco.service.engine_pool import EnginePool, StartedModel
from sirocco.service.prompt_size import fewest_tokens
from sirocco.service.quota import Quota, WorstCase
from sirocco.service.service import Job, Service, tokenized
from sirocco.service.usage_writer import UsageWriter
from sirocco.tokenizer.base import Tokenizer


@dataclass(frozen=True, slots=True)
class InspectionJob:
    """What is to be looked at.

    Attributes:
        job: a prompt or a conversation; how it would be sampled does not matter.
        answer: a text that follows it.
        layers, heads: whose attention is wanted; None is all of them.
        n_alternatives, encoding: see `InspectionRequest`.
    """

    job: Job
    answer: str = ""
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_alternatives: int = 0
    encoding: Encoding = "uint8"


@dataclass(frozen=True, slots=True)
class Look:
    """An inspection that is asked for, and what its answer needs; close it in any case."""

    inspection: Inspection
    origin: AnswerOrigin
    shape: EngineShape
    tokenizer: Tokenizer

    @property
    def neurons(self) -> float:
        """What it costs: a prompt's tokens."""
        return self.origin.price.neurons(self.inspection.n_prompt_tokens, 0)

    def close(self) -> None:
        """Stop the engine's work on it, if there is any left; again does nothing."""
        self.inspection.abort()


class Inspector:
    """The use case beside `Service.run`, under the same limits.

    Args:
        max_tokens: of an inspection: its work and its answer grow with their square.
        queue_timeout_s, time_limit_s: see `Service`.
    """

    def __init__(
        self, service: Service, usage: UsageWriter, quota: Quota, *, max_tokens: int,
        queue_timeout_s: float | None = None, time_limit_s: float | None = None,
    ) -> None:  # fmt: skip
        self._service = service
        self._usage = usage
        self._quota = quota
        self._max_tokens = max_tokens
        self._queue_timeout_s = queue_timeout_s
        self._time_limit_s = time_limit_s

    @property
    def _engines(self) -> EnginePool:
        return self._service.engines

    async def inspect(
        self, caller: Caller, model_id: str, wanted: InspectionJob, *, request_id: str
    ) -> Look:
        """Let a model's engine look inside, when it has time; the caller must close the result.

        Raises: what `Service.run` raises; InvalidInput for a text that is too long, and for more
            than one answer holds.
        """
        asked = self._service.admit(caller, model_id)
        serving = self._service.serving(asked)
        model = await self._engines.get(serving)
        engine = await model.engine()
        engine.check_room_to_inspect(caller.account_id)
        request = await self._request(caller, serving, model, wanted, request_id)
        origin = AnswerOrigin(caller, asked.model_id, serving.model_id, asked.price)
        worst = WorstCase(asked.price, len(request.token_ids), 0)
        async with self._quota.reserved(caller, request_id, worst):
            engine = await model.engine()
            self._service.check_open()
            shape = engine.shape
            assert shape is not None, "an engine that takes requests has said what it is"
            inspection = engine.inspect(request, on_over=lambda over: self._settle(over, origin))
        return Look(inspection, origin, shape, model.tokenizer)

    async def blocks(self, caller: Caller, request_id: str) -> BlockView:
        """See which blocks a live answer of the caller's account holds.

        Raises: UnknownRequest if there is none of this id; EngineFault; Aborted.
        """
        engine = self._engines.find_live(request_id, caller.account_id)
        view = None if engine is None else await engine.look_at_blocks(request_id)
        if view is None or not view.sequences:
            raise UnknownRequest(f"no live answer of this account has the id {request_id}")
        return view

    async def _request(
        self, caller: Caller, serving: CatalogEntry, model: StartedModel, wanted: InspectionJob,
        request_id: str,
    ) -> InspectionRequest:  # fmt: skip
        engine = await model.engine()
        shape, limits = engine.shape, engine.limits
        assert shape is not None
        limit = min(self._max_tokens, limits.limit_tokens - 1)
        n_characters = wanted.job.n_characters + len(wanted.answer)
        _check_n_tokens(fewest_tokens(n_characters, model.longest_token_bytes), limit)
        token_ids = await tokenized(model.tokenizer, serving, wanted.job)
        token_ids = [*token_ids, *model.tokenizer.encode(wanted.answer)]
        _check_n_tokens(len(token_ids), limit)
        limits.check(token_ids, wanted.job.sampling)
        request = InspectionRequest(
            request_id,
            token_ids,
            layers=_chosen(wanted.layers, shape.n_layers),
            heads=_chosen(wanted.heads, shape.n_heads),
            n_alternatives=min(wanted.n_alternatives, shape.vocab_size),
            encoding=wanted.encoding,
            account=caller.account_id,
            wait_limit_s=self._queue_timeout_s,
            time_limit_s=self._time_limit_s,
        )
        request.check(n_layers=shape.n_layers, n_heads=shape.n_heads)
        return request

    def _settle(self, over: Inspection, origin: AnswerOrigin) -> None:
        """Keep what it used; without a row nothing else would end its reservation."""
        if not settle(over, origin, self._usage):
            self._quota.give_back(origin.caller, over.request_id)


def _chosen(asked: tuple[int, ...] | None, n: int) -> tuple[int, ...]:
    """Put what was asked for in order, each once; all if nothing was."""
    return tuple(range(n)) if asked is None else tuple(sorted(set(asked)))


def _check_n_tokens(n_tokens: int, limit: int) -> None:
    if n_tokens > limit:
        raise InvalidInput(
            f"'/prompt' and '/answer' must have at most {limit} tokens to be inspected, "
            f"got {n_tokens}"
        )
