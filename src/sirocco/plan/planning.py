"""A network on a machine: what fits, how fast a step can be, what a million tokens cost.

The time of a decode step is the sum of two parts. Its matrices are read once, whatever the batch,
or multiplied, whichever takes longer; keys and values are read for each sequence. So a batch makes
the first part cheap and leaves the second, which grouped-query attention divides by its group size.
A machine that was measured gives the first part as it was, and a third: all that is neither.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from sirocco.errors import ConfigError
from sirocco.kvcache.block_manager import window_blocks
from sirocco.kvcache.format import KV_FORMATS
from sirocco.model.config import ModelConfig
from sirocco.plan.hardware import Hardware
from sirocco.plan.needs import BITS_PER_WEIGHT, Needs

MEMORY_SHARE = 0.9
"""Of a machine's memory that weights, keys and values may take; the rest is the program's."""

BLOCK_SIZE = 16
"""Positions in a block of the KV cache, as an engine has it by default."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is made for.

    Attributes:
        shape: of the network.
        weights, kv_format: names of number formats: `BITS_PER_WEIGHT`, `KV_FORMATS`.
        context: tokens of each sequence, prompt and answer together.
        batch: sequences at once; None is as many as fit.

    Raises: ConfigError naming the field, its value and its limit.
    """

    shape: ModelConfig
    weights: str = "bfloat16"
    kv_format: str = "float16"
    context: int = 4096
    batch: int | None = None

    def __post_init__(self) -> None:
        _check_one_of("weights", self.weights, BITS_PER_WEIGHT)
        _check_one_of("kv_format", self.kv_format, KV_FORMATS)
        if not 1 <= self.context <= self.shape.max_seq_len:
            raise ConfigError(
                f"context must be 1 to the model's {self.shape.max_seq_len}, got {self.context}"
            )
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch must be at least 1, got {self.batch}")

    @property
    def needs(self) -> Needs:
        """The same network's bytes and operations."""
        return Needs(self.shape, self.weights, KV_FORMATS[self.kv_format])

    def with_kv_heads(self, n_kv_heads: int) -> "Question":
        """Ask for the same network with as many KV heads. Raises: ConfigError."""
        try:
            return replace(self, shape=replace(self.shape, n_kv_heads=n_kv_heads))
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Step:
    """One decode step: a token for each of `batch` sequences.

    Attributes:
        batch: sequences.
        weights_s, attention_s: seconds for matrices; for keys and values.
        rest_s: for all else, where steps were measured.
    """

    batch: int
    weights_s: float
    attention_s: float
    rest_s: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        """Of all sequences together."""
        return self.batch / (self.weights_s + self.attention_s + self.rest_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer.

    Attributes:
        question, hardware: what was asked.
        weights_bytes, kv_bytes_per_token, kv_bytes_per_sequence: what has to be kept.
        largest_batch: sequences whose keys and values fit beside the weights; 0 if none does.
        single: a step for one sequence, or None if it does not fit.
        step: a step for the batch that was asked for, or the largest; None if it does not fit.
        prompt_tokens_per_s: of one prompt of `context` tokens.
    """

    question: Question
    hardware: Hardware
    weights_bytes: float
    kv_bytes_per_token: int
    kv_bytes_per_sequence: int
    largest_batch: int
    single: Step | None
    step: Step | None
    prompt_tokens_per_s: float

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Of output; None without a price or where it does not fit."""
        if self.step is None or self.hardware.usd_per_hour is None:
            return None
        return self.hardware.usd_per_hour / 3600 / self.step.tokens_per_s * 1e6


def plan(question: Question, hardware: Hardware) -> Plan:
    """Put a network on a machine. Raises: ConfigError if that cannot multiply its weights."""
    needs = question.needs
    largest = largest_batch(question, hardware)
    batch = question.batch if question.batch is not None else largest
    return Plan(
        question=question,
        hardware=hardware,
        weights_bytes=needs.weights_bytes,
        kv_bytes_per_token=needs.kv_bytes_per_token,
        kv_bytes_per_sequence=held_bytes(question),
        largest_batch=largest,
        single=decode_step(question, hardware, 1) if largest else None,
        step=decode_step(question, hardware, batch) if 1 <= batch <= largest else None,
        prompt_tokens_per_s=_prompt_rate(question, hardware),
    )


def decode_step(question: Question, hardware: Hardware, batch: int) -> Step:
    """Time a step by what was measured, or by the machine's rates as far as engines reach them.

    Raises: ConfigError if it cannot multiply weights of this format.
    """
    needs, context, steps = question.needs, question.context, hardware.steps
    reading = hardware.read_bytes_per_s * hardware.share
    multiplying = hardware.rate(question.weights) * hardware.share
    attending = hardware.attention_operations_per_s * hardware.share
    kv_operations = needs.attention_operations(batch * needs.seen(context))
    attention_s = max(batch * needs.kv_bytes(context) / reading, kv_operations / attending)
    if steps is None:
        matrices_s = 2 * needs.n_in_matrices * batch / multiplying
        return Step(batch, max(needs.step_bytes / reading, matrices_s), attention_s)
    matrices_s = steps.matrices_s(question.weights, needs.n_in_matrices, batch)
    return Step(batch, matrices_s, attention_s, steps.rest_s(question.shape.n_layers, batch))


def largest_batch(question: Question, hardware: Hardware) -> int:
    """Sequences of `context` tokens that fit into memory beside the weights."""
    room = MEMORY_SHARE * hardware.memory_bytes - question.needs.weights_bytes
    return max(0, int(room // held_bytes(question)))


def held_bytes(question: Question) -> int:
    """Keys and values in the blocks of one sequence between two steps."""
    n_blocks = -(-question.context // BLOCK_SIZE)
    if question.shape.window is not None:
        n_blocks = min(n_blocks, window_blocks(question.shape.window, BLOCK_SIZE))
    return n_blocks * BLOCK_SIZE * question.needs.kv_bytes_per_token


def kinds_of_attention(shape: ModelConfig) -> Iterator[tuple[str, int]]:
    """Name MHA, GQA and MQA for this network: (name, KV heads). GQA as it is, or with 8 groups."""
    yield "MHA", shape.n_heads
    grouped = shape.n_kv_heads if 1 < shape.n_kv_heads < shape.n_heads else 8
    if grouped < shape.n_heads and shape.n_heads % grouped == 0:
        yield f"GQA-{grouped}", grouped
    if shape.n_heads > 1:
        yield "MQA", 1


def _prompt_rate(question: Question, hardware: Hardware) -> float:
    """Tokens per second of one prompt, which is multiplied, but not faster than it is read."""
    needs, n_tokens = question.needs, question.context
    attention = needs.attention_operations(needs.pairs(n_tokens))
    linear = needs.prefill_operations(n_tokens) - attention
    seconds = linear / hardware.rate(question.weights)
    seconds += attention / hardware.attention_operations_per_s
    seconds = max(seconds, needs.step_bytes / hardware.read_bytes_per_s)
    return n_tokens * hardware.share / seconds


def _check_one_of(name: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
