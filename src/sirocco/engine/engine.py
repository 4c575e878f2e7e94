"""One step of many answers: schedule → run → choose → apply."""

import secrets
from collections.abc import Sequence as Run
from dataclasses import dataclass
from itertools import islice

from sirocco.engine import sampler
from sirocco.engine.config import EngineConfig
from sirocco.engine.output import OutputText
from sirocco.engine.request import EngineLimits, Request
from sirocco.engine.runner import ModelRunner
from sirocco.engine.sampler import Choice, Row
from sirocco.engine.scheduler import Chunk, Scheduler
from sirocco.engine.sequence import Sequence
from sirocco.errors import ModelFault, SiroccoError
from sirocco.kvcache.block_manager import BlockManager
from sirocco.model.transformer import Transformer
from sirocco.tokenizer.base import Tokenizer
from sirocco.types import FinishReason, TokenLogprob


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to one answer.

    Attributes:
        index: which of the request's n answers.
        text: whole characters; may be empty while a character or a stop string is undecided.
        token_ids: the output tokens of this step; the one that ended the answer is among them.
        n_cached_tokens: prompt tokens whose keys and values were there already.
        finish_reason: set in the last piece.
        error: why the answer broke off, if it did; the finish reason is then ABORT.
    """

    request_id: str
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0
    n_cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    error: SiroccoError | None = None


@dataclass(slots=True)
class _Answer:
    seq: Sequence
    text: OutputText


class Engine:
    """Answers of one model, advanced together; not thread-safe.

    Args:
        model: its device and dtype are the engine's.
        tokenizer: of the same vocabulary.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, config: EngineConfig | None = None
    ) -> None:
        config = config or EngineConfig()
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.runner = ModelRunner(model, config)
        self.scheduler = Scheduler(
            BlockManager(self.runner.n_blocks, config.block_size),
            window=model.config.window,
            max_seq_len=config.seq_len_limit(model.config),
            max_step_tokens=config.max_step_tokens,
            max_running=config.max_running,
            max_waiting=config.max_waiting,
            # Only where a row's bits do not depend on how many rows there are: then the answer
            # is the same with and without guesses, to the last bit.
            n_guesses=config.n_guesses if model.rounds_weights else 0,
        )
        self.limits = EngineLimits(
            vocab_size=model.config.vocab_size, limit_tokens=self.limit_tokens, max_n=1
        )
        self._answers: dict[str, _Answer] = {}

    @property
    def has_work(self) -> bool:
        """Some answer is not finished."""
        return self.scheduler.has_work

    @property
    def limit_tokens(self) -> int:
        """Prompt plus output tokens that one request may have."""
        return self.scheduler.limit_tokens

    def add(self, request: Request) -> None:
        """Let a request wait for its turn; its output is cut to what fits beside the prompt.

        Raises: PromptTooLong, InvalidInput; OutOfCapacity if too many wait; ValueError if the
            request id is in use.
        """
        prompt_token_ids, sampling = request.prompt_token_ids, request.sampling
        if request.request_id in self._answers:
            raise ValueError(f"request id {request.request_id!r} is in use")
        self.limits.check(prompt_token_ids, sampling)
        seq = Sequence(
            request_id=request.request_id,
            token_ids=list(prompt_token_ids),
            n_prompt_tokens=len(prompt_token_ids),
            sampling=sampling,
            max_tokens=min(sampling.max_tokens, self.limit_tokens - len(prompt_token_ids)),
            seed=secrets.randbits(63) if sampling.seed is None else sampling.seed,
            end_token_ids=frozenset(() if sampling.ignore_eos else self._end_token_ids()),
        )
        self.scheduler.add(seq)
        self._answers[request.request_id] = _Answer(
            seq, OutputText(self.tokenizer, prompt_token_ids, sampling.stop)
        )

    def step(self) -> list[Piece]:
        """Advance every scheduled sequence; one piece per sequence that gained tokens."""
        plan = self.scheduler.schedule()
        if plan.is_empty:
            return []
        logits = self.runner.run(plan)
        rows = [row for chunk in plan.sampling for row in _rows(chunk)]
        choices = iter(sampler.sample(logits, rows) if rows else ())
        kept = [_kept(chunk, list(islice(choices, 1 + len(chunk.guesses))))
                for chunk in plan.sampling]  # fmt: skip
        n_known = [chunk.seq.n_known for chunk in plan.sampling]
        self.scheduler.apply(plan, [_token_ids(choices_of_one) for choices_of_one in kept])
        return [
            self._piece(chunk.seq, choices_of_one[: chunk.seq.n_known - n_before])
            for chunk, choices_of_one, n_before in zip(plan.sampling, kept, n_known, strict=True)
        ]

    def abort(self, request_id: str) -> Piece | None:
        """End an answer in any phase and give back its blocks; None if it is not there any more."""
        answer = self._answers.pop(request_id, None)
        if answer is None:
            return None
        self.scheduler.finish(answer.seq, FinishReason.ABORT)
        return Piece(request_id, "", finish_reason=FinishReason.ABORT)

    def _end_token_ids(self) -> set[int]:
        eos_id = self.tokenizer.eos_id
        return {*self.model.config.eos_token_ids, *(() if eos_id is None else (eos_id,))}

    def _piece(self, seq: Sequence, choices: Run[Choice]) -> Piece:
        """Turn tokens that were added into text, which may end the answer, too."""
        if not choices:
            del self._answers[seq.request_id]
            error = ModelFault("the model's logits are not finite numbers")
            return Piece(seq.request_id, "", finish_reason=FinishReason.ABORT, error=error)
        text = self._answers[seq.request_id].text
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
        if seq.finish_reason is not None:
            del self._answers[seq.request_id]
        return Piece(
            seq.request_id,
            shown,
            token_ids=tuple(token_ids),
            logprobs=tuple(c.logprob for c in choices[: len(token_ids)] if c.logprob is not None),
            finish_reason=seq.finish_reason,
        )


def _rows(chunk: Chunk) -> list[Row]:
    """Say what each choice of a chunk depends on: that of a guess's follower on the guess, too."""
    seq, guesses = chunk.seq, chunk.guesses
    return [
        Row(seq.sampling, seq.seed, [*seq.token_ids, *guesses[:n]] if n else seq.token_ids,
            seq.n_prompt_tokens)
        for n in range(1 + len(guesses))
    ]  # fmt: skip


def _kept(chunk: Chunk, choices: Run[Choice]) -> list[Choice]:
    """Keep the choices up to the first that its guess did not foresee, and that one."""
    kept = [choices[0]]
    for guess, following in zip(chunk.guesses, choices[1:], strict=True):
        if kept[-1].token_id != guess or following.token_id is None:
            break
        kept.append(following)
    return kept


def _token_ids(choices: Run[Choice]) -> list[int] | None:
    return None if choices[0].token_id is None else [c.token_id for c in choices]  # type: ignore[misc]
