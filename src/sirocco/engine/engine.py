"""One step of many answers: schedule → run → choose → apply."""

import secrets
import time
from collections.abc import Callable
from collections.abc import Sequence as Run
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sirocco.engine.block_view import BlockView
from sirocco.engine.config import EngineConfig
from sirocco.engine.inspection.desk import InspectionDesk
from sirocco.engine.inspection.shape import EngineShape
from sirocco.engine.output import OutputText
from sirocco.engine.request import EngineLimits, Request
from sirocco.engine.runner import ModelRunner
from sirocco.engine.sampling.choosing import choose
from sirocco.engine.sampling.grammar import GrammarCompiler, GrammarState
from sirocco.engine.sampling.penalties import wants_penalties
from sirocco.engine.sampling.sampler import Choice
from sirocco.engine.sampling.token_counts import TokenCounts
from sirocco.engine.scheduling.pace import Pace
from sirocco.engine.scheduling.scheduler import Scheduler, StepPlan
from sirocco.engine.scheduling.viewing import view_blocks
from sirocco.engine.sequence import Sequence, SequenceState
from sirocco.errors import OutOfCapacity, SiroccoError, TimedOut
from sirocco.kvcache.block_manager import BlockManager
from sirocco.kvcache.prefix import root_name
from sirocco.model.transformer import Transformer
from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.chat import TURN_ENDS
from sirocco.types import FinishReason, TokenLogprob

if TYPE_CHECKING:
    from sirocco.engine.gpu.ahead import AheadDecoder, Flight


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to one answer.

    Attributes:
        index: which of the request's n answers.
        is_last: nothing more of this request will come.
        text: whole characters; may be empty while a character or a stop string is undecided.
        token_ids: the output tokens of this step; the one that ended the answer is among them.
        n_cached_tokens: prompt tokens whose keys and values were there already.
        finish_reason: set in the last piece of an answer.
        error: why the answer broke off, if it did; the finish reason is then ABORT.
    """

    request_id: str
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0
    is_last: bool = False
    n_cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: SiroccoError | None = None


@dataclass(slots=True)
class _Answer:
    seq: Sequence
    text: OutputText


@dataclass(slots=True)
class _Live:
    """A request that is not over.

    Attributes:
        answers: by their index.
        n_left: answers that are not finished.
        has_begun: one of its sequences has run.
        wait_until, end_by: by the engine's clock; None has no limit.
    """

    request: Request
    answers: list[_Answer]
    n_left: int
    wait_until: float | None
    end_by: float | None
    has_begun: bool = False


class Engine:
    """Answers of one model, advanced together; not thread-safe.

    Attributes:
        inspections: looks inside of the network, which whoever steps runs between steps.

    Args:
        model: its device and dtype are the engine's.
        tokenizer: of the same vocabulary.
        clock: seconds, for time limits.
        make_runner: what computes the network; `ParallelRunner` does so on several devices.
        decoder: of steps ahead of the host; None makes one on a GPU, if its backend can.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: EngineConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        make_runner: Callable[[Transformer, EngineConfig], ModelRunner] = ModelRunner,
        decoder: Callable[[ModelRunner], "AheadDecoder | None"] | None = None,
    ) -> None:
        config = config or EngineConfig()
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.runner = make_runner(model, config)
        self.scheduler = Scheduler(
            BlockManager(self.runner.n_blocks, config.block_size),
            window=model.config.window,
            max_seq_len=config.seq_len_limit(model.config),
            max_step_tokens=config.max_step_tokens,
            max_running=config.max_running,
            # Only where a row's bits do not depend on how many rows there are: then the answer
            # is the same with and without guesses, to the last bit.
            n_guesses=config.n_guesses if model.is_batch_invariant else 0,
            prefix_cache=config.prefix_cache,
        )
        self.limits = EngineLimits(
            vocab_size=model.config.vocab_size,
            limit_tokens=self.limit_tokens,
            max_n=config.max_running,
        )
        self.inspections = InspectionDesk(model, clock=clock)
        self._clock = clock
        self._pace = Pace(config.step_target_s, config.max_step_tokens)
        self._live: dict[str, _Live] = {}
        self._decoder = (decoder or decoder_for)(self.runner)
        self._flight: Flight | None = None

    @property
    def has_work(self) -> bool:
        """Some answer is not finished."""
        return self.scheduler.has_work

    @property
    def shape(self) -> EngineShape:
        """Dimensions of the network, and of the cache beside it."""
        network = self.runner.shape
        return EngineShape(
            network.n_layers, network.n_heads, network.n_kv_heads, network.head_dim,
            window=network.window,
            vocab_size=network.vocab_size,
            max_seq_len=self.limit_tokens,
            block_size=self.config.block_size,
            n_blocks=self.runner.n_blocks,
            weights=self.model.weight_format,
            kv_format=self.runner.kv_format,
        )  # fmt: skip

    @property
    def live_ids(self) -> list[str]:
        """Ids of the requests that are not over."""
        return list(self._live)

    @property
    def limit_tokens(self) -> int:
        """Prompt plus output tokens that one request may have."""
        return self.scheduler.limit_tokens

    def begun_grammar(self, request: Request) -> GrammarState | None:
        """Begin the grammar of a request's answers, if it has one.

        It may take long, and touches nothing that a step does: a host calls it in another thread,
        but always in the same one.

        Raises: InvalidInput if the grammar cannot be used.
        """
        grammar = request.sampling.grammar
        return None if grammar is None else self._grammars.start(grammar)

    def add(self, request: Request, grammar: GrammarState | None = None) -> None:
        """Let a request wait for its turn; its output is cut to what fits beside the prompt.

        Args:
            grammar: the request's, if it was begun ahead.

        Raises: PromptTooLong, InvalidInput; ValueError if the request id is in use.
        """
        if request.request_id in self._live:
            raise ValueError(f"request id {request.request_id!r} is in use")
        self.limits.check(request.prompt_token_ids, request.sampling)
        sequences = self._sequences(request, grammar or self.begun_grammar(request))
        now = self._clock()
        self._live[request.request_id] = _Live(
            request,
            [_Answer(seq, self._text(request)) for seq in sequences],
            n_left=len(sequences),
            wait_until=None if request.wait_limit_s is None else now + request.wait_limit_s,
            end_by=None if request.time_limit_s is None else now + request.time_limit_s,
        )
        # The others wait until the first has computed the prompt: then they find it cached.
        self.scheduler.add(sequences[0])

    def step(self) -> list[Piece]:
        """Advance every scheduled sequence; one piece per sequence that gained tokens.

        Requests whose time is over end first, each with one piece that says so.
        """
        expired = self._expire()
        started_s = self._clock()
        flight, self._flight = self._flight, None
        if flight is None:
            plan = self.scheduler.schedule(self._pace.n_tokens)
            if plan.is_empty:
                return expired
            if self._decoder is not None and self._decoder.takes(plan):
                flight = self._decoder.launch(plan)
            else:
                kept = choose(plan.sampling, self.runner.run(plan))
        if flight is not None:
            self._launch_after(flight)
            plan, kept = flight.choices()
        pieces = self._applied(plan, kept)
        self._pace.learn(plan.n_tokens, self._clock() - started_s)
        return expired + pieces

    def _launch_after(self, flight: "Flight") -> None:
        """Start the step after one that is under way, if nothing has to be decided first."""
        plan = self.scheduler.schedule_ahead(flight.plan)
        if plan is not None and self._decoder is not None:
            self._flight = self._decoder.launch(plan, after=flight)

    def _applied(self, plan: StepPlan, kept: list[list[Choice]]) -> list[Piece]:
        """Record what a step computed; give what it added to each answer."""
        n_known = [chunk.seq.n_known for chunk in plan.sampling]
        self.scheduler.apply(plan, [_token_ids(choices_of_one) for choices_of_one in kept])
        return [
            piece
            for chunk, choices_of_one, n_before in zip(plan.sampling, kept, n_known, strict=True)
            for piece in self._pieces(chunk.seq, choices_of_one, chunk.seq.n_known - n_before)
        ]

    def abort(self, request_id: str, error: SiroccoError | None = None) -> Piece | None:
        """End a request in any phase and give back its blocks; None if it is not there any more."""
        live = self._live.pop(request_id, None)
        if live is None:
            return None
        for answer in live.answers:
            # Of several answers those that did not begin are not with the scheduler yet.
            if answer.seq.state is not SequenceState.NEW:
                self.scheduler.finish(answer.seq, FinishReason.ABORT)
        return Piece(
            request_id, "", is_last=True, n_cached_tokens=_n_cached(live.answers[0].seq),
            finish_reason=FinishReason.ABORT, error=error,
        )  # fmt: skip

    def view_blocks(self, request_id: str) -> BlockView:
        """See which blocks a request's answers hold now; of one that is over, none."""
        return view_blocks(self.scheduler, request_id)

    def _sequences(self, request: Request, grammar: GrammarState | None) -> list[Sequence]:
        prompt_token_ids, sampling = request.prompt_token_ids, request.sampling
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        end_token_ids = frozenset(() if sampling.ignore_eos else self._end_token_ids())
        return [
            Sequence(
                request_id=request.request_id,
                token_ids=list(prompt_token_ids),
                n_prompt_tokens=len(prompt_token_ids),
                sampling=sampling,
                max_tokens=min(sampling.max_tokens, self.limit_tokens - len(prompt_token_ids)),
                seed=_seed_of(seed, index),
                end_token_ids=end_token_ids,
                account=request.account,
                weight=request.weight,
                index=index,
                root=root_name("account", request.account),
                counts=_counts_of(request),
                grammar=None if grammar is None else grammar.copy(),
            )
            for index in range(sampling.n)
        ]

    @cached_property
    def _grammars(self) -> GrammarCompiler:
        vocab_size = self.model.config.vocab_size
        return GrammarCompiler(self.tokenizer, vocab_size, self._end_token_ids())

    def _text(self, request: Request) -> OutputText:
        return OutputText(self.tokenizer, request.prompt_token_ids, request.sampling.stop)

    def _expire(self) -> list[Piece]:
        """End the requests whose time is over."""
        now = self._clock()
        errors = {
            request_id: error
            for request_id, live in self._live.items()
            if (error := _lateness(live, now)) is not None
        }
        pieces = [self.abort(request_id, error) for request_id, error in errors.items()]
        return [piece for piece in pieces if piece is not None]

    def _end_token_ids(self) -> set[int]:
        named = (self.tokenizer.eos_id, *map(self.tokenizer.control_id, TURN_ENDS))
        vocab_size = self.model.config.vocab_size
        known = {token_id for token_id in named if token_id is not None and token_id < vocab_size}
        return known | {*self.model.config.eos_token_ids}

    def _pieces(self, seq: Sequence, choices: Run[Choice], n_added: int) -> list[Piece]:
        """Turn tokens that were added into text, which may end the answer, too."""
        live = self._live.get(seq.request_id)
        if live is None:  # another answer to the same prompt has just failed
            return []
        if choices[0].token_id is None:
            piece = self.abort(seq.request_id, choices[0].fault)
            return [piece] if piece is not None else []
        if not live.has_begun:
            live.has_begun = True
            for answer in live.answers[1:]:
                self.scheduler.add(answer.seq, like=seq)
        return [self._piece(seq, live, choices[:n_added])]

    def _piece(self, seq: Sequence, live: _Live, choices: Run[Choice]) -> Piece:
        text = live.answers[seq.index].text
        shown = ""
        token_ids: list[int] = []
        for choice in choices:
            assert choice.token_id is not None, "it was added to the sequence"
            token_ids.append(choice.token_id)
            shown += "" if choice.token_id in seq.end_token_ids else text.add(choice.token_id)
            if text.is_stopped:
                break
        if seq.finish_reason is not None and not text.is_stopped:
            shown += text.flush()
        if text.is_stopped:
            self.scheduler.finish(seq, FinishReason.STOP)
        live.n_left -= seq.finish_reason is not None
        if not live.n_left:
            del self._live[seq.request_id]
        return Piece(
            seq.request_id,
            shown,
            token_ids=tuple(token_ids),
            logprobs=tuple(c.logprob for c in choices[: len(token_ids)] if c.logprob is not None),
            index=seq.index,
            is_last=not live.n_left,
            n_cached_tokens=_n_cached(live.answers[0].seq),
            finish_reason=seq.finish_reason,
        )


def decoder_for(runner: ModelRunner) -> "AheadDecoder | None":
    """Make what decodes ahead of the host, on a GPU; a CPU has nothing to wait for."""
    is_alone = type(runner) is ModelRunner  # other ranks are told step by step
    if runner.model.device.type != "cuda" or runner.attention != "triton" or not is_alone:
        return None
    from sirocco.engine.gpu.ahead import AheadDecoder  # noqa: PLC0415 - it needs Triton

    return AheadDecoder.of(runner)


def _counts_of(request: Request) -> TokenCounts | None:
    if not wants_penalties(request.sampling):
        return None
    return TokenCounts(request.prompt_token_ids, len(request.prompt_token_ids))


def _seed_of(seed: int, index: int) -> int:
    """Return the seed of one of several answers; the first has that of the request."""
    return (seed + index * 0x9E3779B97F4A7C15) % 2**63


def _lateness(live: _Live, now: float) -> SiroccoError | None:
    """Say why a request's time is over, if it is."""
    if live.end_by is not None and now >= live.end_by:
        limit_s = live.request.time_limit_s
        return TimedOut(f"the answer was not whole within its time limit of {limit_s:g} s")
    if live.wait_until is None or now < live.wait_until:
        return None
    if live.answers[0].seq.n_cached_tokens is not None:  # it runs, or did
        return None
    return OutOfCapacity(f"the request could not begin within {live.request.wait_limit_s:g} s")


def _n_cached(seq: Sequence) -> int:
    return seq.n_cached_tokens or 0


def _token_ids(choices: Run[Choice]) -> list[int] | None:
    return None if choices[0].token_id is None else [c.token_id for c in choices]  # type: ignore[misc]
