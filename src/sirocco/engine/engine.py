"""One step of many answers: schedule → run → choose → apply."""

import secrets
from collections.abc import Sequence as Run
from dataclasses import dataclass

from sirocco.engine import sampler
from sirocco.engine.config import EngineConfig
from sirocco.engine.output import OutputText
from sirocco.engine.runner import ModelRunner
from sirocco.engine.sampler import Choice, Row
from sirocco.engine.scheduler import Scheduler
from sirocco.engine.sequence import Sequence
from sirocco.errors import InvalidInput, ModelFault, PromptTooLong, SiroccoError
from sirocco.kvcache.block_manager import BlockManager
from sirocco.model.transformer import Transformer
from sirocco.tokenizer.base import Tokenizer
from sirocco.types import FinishReason, SamplingParams, TokenLogprob


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to one answer.

    Attributes:
        text: whole characters; may be empty while a character or a stop string is undecided.
        token_ids: the output tokens of this step; the one that ended the answer is among them.
        finish_reason: set in the last piece.
        error: why the answer broke off, if it did; the finish reason is then ABORT.
    """

    request_id: str
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
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

    def check(self, prompt_token_ids: Run[int], sampling: SamplingParams) -> None:
        """Refuse what could never be answered; safe to call from any thread.

        Raises: PromptTooLong if no output token would fit; InvalidInput.
        """
        vocab_size = self.model.config.vocab_size
        if not prompt_token_ids:
            raise InvalidInput("'/prompt' must have at least 1 token, got 0")
        if len(prompt_token_ids) >= self.limit_tokens:
            raise PromptTooLong(len(prompt_token_ids), sampling.max_tokens, self.limit_tokens)
        if not 0 <= min(prompt_token_ids) <= max(prompt_token_ids) < vocab_size:
            raise InvalidInput(f"token ids of '/prompt' must be in 0 … {vocab_size - 1}")
        if any(not 0 <= token_id < vocab_size for token_id in sampling.logit_bias or ()):
            raise InvalidInput(f"token ids of '/logit_bias' must be in 0 … {vocab_size - 1}")
        if sampling.logprobs is not None and sampling.logprobs > vocab_size:
            raise InvalidInput(f"'/logprobs' must be <= {vocab_size}, got {sampling.logprobs}")
        if sampling.n != 1:
            raise InvalidInput(f"'/n' must be <= 1, got {sampling.n}")

    def add(self, request_id: str, prompt_token_ids: Run[int], sampling: SamplingParams) -> None:
        """Let a request wait for its turn; its output is cut to what fits beside the prompt.

        Raises: PromptTooLong, InvalidInput; OutOfCapacity if too many wait; ValueError if the
            request id is in use.
        """
        if request_id in self._answers:
            raise ValueError(f"request id {request_id!r} is in use")
        self.check(prompt_token_ids, sampling)
        seq = Sequence(
            request_id=request_id,
            token_ids=list(prompt_token_ids),
            n_prompt_tokens=len(prompt_token_ids),
            sampling=sampling,
            max_tokens=min(sampling.max_tokens, self.limit_tokens - len(prompt_token_ids)),
            seed=secrets.randbits(63) if sampling.seed is None else sampling.seed,
            end_token_ids=frozenset(() if sampling.ignore_eos else self._end_token_ids()),
        )
        self.scheduler.add(seq)
        self._answers[request_id] = _Answer(
            seq, OutputText(self.tokenizer, prompt_token_ids, sampling.stop)
        )

    def step(self) -> list[Piece]:
        """Advance every scheduled sequence; one piece per sequence that gained a token."""
        plan = self.scheduler.schedule()
        if plan.is_empty:
            return []
        logits = self.runner.run(plan)
        seqs = [chunk.seq for chunk in plan.sampling]
        choices = sampler.sample(logits, [_row(seq) for seq in seqs]) if seqs else []
        self.scheduler.apply(plan, [choice.token_id for choice in choices])
        return [self._piece(seq, choice) for seq, choice in zip(seqs, choices, strict=True)]

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

    def _piece(self, seq: Sequence, choice: Choice) -> Piece:
        """Turn a chosen token into text, which may end the answer, too."""
        text = self._answers[seq.request_id].text
        if choice.token_id is None:
            del self._answers[seq.request_id]
            error = ModelFault("the model's logits are not finite numbers")
            return Piece(seq.request_id, "", finish_reason=FinishReason.ABORT, error=error)
        is_end = choice.token_id in seq.end_token_ids
        shown = "" if is_end else text.add(choice.token_id)
        if seq.finish_reason is not None and not text.is_stopped:
            shown += text.flush()
        if text.is_stopped:
            self.scheduler.finish(seq, FinishReason.STOP)
        if seq.finish_reason is not None:
            del self._answers[seq.request_id]
        return Piece(
            seq.request_id,
            shown,
            token_ids=(choice.token_id,),
            logprobs=() if choice.logprob is None else (choice.logprob,),
            finish_reason=seq.finish_reason,
        )


def _row(seq: Sequence) -> Row:
    return Row(seq.sampling, seq.seed, seq.token_ids, seq.n_prompt_tokens)
