"""What is asked of an engine, and what can be told about it without one.

Plain values: they travel between processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sirocco.errors import InvalidInput, PromptTooLong
from sirocco.types import SamplingParams


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and what to make of it.

    Attributes:
        request_id: of one answer that is in flight.
        account: whose it is. Accounts share an engine fairly, and never each other's cached blocks.
        weight: share of the account beside others; twice the weight is served twice as much.
        wait_limit_s: seconds that it may wait before it runs first; None waits for ever.
        time_limit_s: seconds from its arrival to its last token; None takes what it takes.
    """

    request_id: str
    prompt_token_ids: Sequence[int]
    sampling: SamplingParams
    account: str = ""
    weight: float = 1.0
    wait_limit_s: float | None = None
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one request may ask of an engine.

    Attributes:
        vocab_size: token ids are below it.
        limit_tokens: prompt plus output tokens.
        max_n: answers to one prompt.
    """

    vocab_size: int
    limit_tokens: int
    max_n: int

    def check(self, prompt_token_ids: Sequence[int], sampling: SamplingParams) -> None:
        """Refuse what could never be answered.

        Raises: PromptTooLong if no output token would fit; InvalidInput.
        """
        if not prompt_token_ids:
            raise InvalidInput("'/prompt' must have at least 1 token, got 0")
        if len(prompt_token_ids) >= self.limit_tokens:
            raise PromptTooLong(len(prompt_token_ids), sampling.max_tokens, self.limit_tokens)
        if not 0 <= min(prompt_token_ids) <= max(prompt_token_ids) < self.vocab_size:
            raise InvalidInput(f"token ids of '/prompt' must be in 0 … {self.vocab_size - 1}")
        if any(not 0 <= token_id < self.vocab_size for token_id in sampling.logit_bias or ()):
            raise InvalidInput(f"token ids of '/logit_bias' must be in 0 … {self.vocab_size - 1}")
        if sampling.logprobs is not None and sampling.logprobs > self.vocab_size:
            raise InvalidInput(f"'/logprobs' must be <= {self.vocab_size}, got {sampling.logprobs}")
        if sampling.n > self.max_n:
            raise InvalidInput(f"'/n' must be <= {self.max_n}, got {sampling.n}")
