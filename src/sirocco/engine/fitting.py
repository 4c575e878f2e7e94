"""What of a request for memory a GPU can give: weights first, then work space, the rest to blocks.

It is arithmetic on numbers that were asked before; it touches no device.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sirocco.engine.config import EngineConfig
from sirocco.errors import ConfigError
from sirocco.kvcache.format import KvFormat
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, WeightFormat
from sirocco.model.sizes import loading_bytes, weight_bytes

_SPARE_BYTES, _SPARE_SHARE = 512 * 2**20, 0.04
"""What is left alone: the allocator's gaps, and what libraries take on their first call."""

_GRAPH_BYTES, _N_GRAPHS = 8 * 2**20, 13 * 3 * 2
"""Of a recorded step; and how many there are at most: sizes of `ahead.py` times kinds of choice."""

_BYTES_PER_LOGIT = 96
"""Scores in two formats, what penalties remember, and what choosing in order keeps beside them."""

_LEAST_SPLIT = 256
"""Keys whose sums decode keeps apart, at least: see `Tiling.split`."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What an engine takes of a GPU.

    Attributes:
        config: as it was asked for, but no more than fits; its three sizes are set.
        note: what became less than was asked, and why, in one sentence; None if nothing did.
    """

    config: EngineConfig
    note: str | None = None


def fit(shape: ModelConfig, config: EngineConfig, kv_format: KvFormat, *, free_bytes: int) -> Fit:
    """Fit work space and KV cache into what is free beside the weights.

    A request that waits is better than one that is refused: so first fewer answers run at once,
    and only when one alone would not fit it may be less long. The cache takes no more than
    `max_running` sequences of full length can fill, so other models find what is left.

    Raises: ConfigError if not one block fits.
    """
    block_bytes = config.block_size * kv_format.bytes_per_token(shape)
    asked_len, asked_running = config.seq_len_limit(shape), config.max_running
    usable = _usable(free_bytes)
    running = asked_running
    while running > 1 and _room(shape, config, usable, running) < _least(
        config, block_bytes, blocks_of(shape, config, asked_len)
    ):
        running //= 2
    room = _room(shape, config, usable, running)
    if room < block_bytes:
        raise ConfigError(
            f"the GPU has {_gib(free_bytes)} free beside the weights, of which "
            f"{_gib(free_bytes - room)} are work space; no block of the KV cache fits"
        )
    wanted = config.kv_cache_bytes or running * blocks_of(shape, config, asked_len) * block_bytes
    n_blocks = max(1, min(room, wanted) // block_bytes)
    max_seq_len = longest(shape, config, n_blocks)
    fitted = replace(
        config, max_seq_len=max_seq_len, max_running=running, kv_cache_bytes=n_blocks * block_bytes
    )
    changes = [
        f"{name} is {now} in place of {asked}"
        for name, now, asked in (
            ("max_running", running, asked_running),
            ("max_seq_len", max_seq_len, asked_len),
            ("kv_cache_bytes", fitted.kv_cache_bytes, config.kv_cache_bytes or 0),
        )
        if now is not None and now < asked and room < wanted
    ]
    if not changes:
        return Fit(fitted)
    free = f"the GPU has {_gib(free_bytes)} free beside the weights, too little for what was asked"
    return Fit(fitted, f"{free}: {', '.join(changes)}")


def choose_fitting(
    shape: ModelConfig, config: EngineConfig, asked: WeightFormat, others: Iterable[WeightFormat],
    *, free_bytes: int, is_fixed: bool,
) -> tuple[WeightFormat, str | None]:  # fmt: skip
    """Take weights as asked for, or the first of `others` that fits where that is left open.

    Args:
        is_fixed: the format was asked for by name.

    Returns: the format, and a sentence if it is another one than `asked`.

    Raises: ConfigError that names the sizes, and the formats that would fit.
    """
    if fits(shape, config, asked, free_bytes=free_bytes):
        return asked, None
    smaller = [form for form in others if fits(shape, config, form, free_bytes=free_bytes)]
    sizes = (
        f"the weights take {_gib(weight_bytes(shape, asked))} in {asked.name}, and "
        f"{_gib(least_bytes(shape, config, asked))} with the least beside them; "
        f"the GPU has {_gib(free_bytes)} free"
    )
    if not smaller:
        raise ConfigError(f"{sizes}, and no other format of a GPU fits; --device cpu may do")
    if is_fixed:
        would = " or ".join(f"{f.name} ({_gib(weight_bytes(shape, f))})" for f in smaller)
        raise ConfigError(f"{sizes}; with --weights {would} it would fit")
    return smaller[0], f"weights are {smaller[0].name} in place of {asked.name}: {sizes}"


def fits(shape: ModelConfig, config: EngineConfig, form: WeightFormat, *, free_bytes: int) -> bool:
    """Tell whether weights of a format can be loaded, and then one sequence can run."""
    return least_bytes(shape, config, form) <= _usable(free_bytes)


def least_bytes(shape: ModelConfig, config: EngineConfig, form: WeightFormat) -> int:
    """Bytes without which nothing runs: weights, and what loading or one short answer takes."""
    kv_bytes = config.block_size * FORMATS["float32"].dtype.itemsize * 2 * (
        shape.n_layers * shape.n_kv_heads * shape.head_dim)  # fmt: skip
    running = work_bytes(shape, max_step_tokens=config.max_step_tokens, max_running=1,
                         max_seq_len=config.block_size)  # fmt: skip
    return weight_bytes(shape, form) + max(loading_bytes(shape, form), running + kv_bytes)


def work_bytes(
    shape: ModelConfig, *, max_step_tokens: int, max_running: int, max_seq_len: int
) -> int:
    """Bytes that steps work in, at most: activations, logits, sums of splits, recorded steps."""
    q_dim, kv_dim = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    widest = max(shape.dim, shape.hidden_dim, q_dim)
    # Numbers of 2 bytes in the largest of its products, and three of 4 where these are in fp8.
    of_token = 2 * (3 * shape.dim + 2 * (q_dim + 2 * kv_dim) + 4 * shape.hidden_dim) + 12 * widest
    of_row = of_token + _BYTES_PER_LOGIT * shape.vocab_size
    n_splits = -(-max_seq_len // _LEAST_SPLIT)
    if shape.window is not None:
        n_splits = min(n_splits, shape.window // _LEAST_SPLIT + 2)
    of_split = 4 * shape.n_heads * (shape.head_dim + 2)
    # Twice the rows: recorded steps have memory of their own.
    return (
        max_step_tokens * of_token
        + max_running * (2 * of_row + n_splits * of_split)
        + _N_GRAPHS * _GRAPH_BYTES
    )


def blocks_of(shape: ModelConfig, config: EngineConfig, n_tokens: int) -> int:
    """Blocks that a sequence of this length holds at most, the chunk in flight included."""
    held = n_tokens
    if shape.window is not None:
        held = min(held, shape.window + config.max_step_tokens)
    return -(-held // config.block_size) + 1


def longest(shape: ModelConfig, config: EngineConfig, n_blocks: int) -> int:
    """Give the most tokens of a sequence that may have all blocks."""
    limit = config.seq_len_limit(shape)
    if blocks_of(shape, config, limit) <= n_blocks:
        return limit
    return min(limit, n_blocks * config.block_size)


def _least(config: EngineConfig, block_bytes: int, n_blocks: int) -> int:
    """Bytes of cache without which a sequence of full length cannot run, if that was asked for."""
    return min(n_blocks * block_bytes, config.kv_cache_bytes or n_blocks * block_bytes)


def _room(shape: ModelConfig, config: EngineConfig, usable: int, running: int) -> int:
    work = work_bytes(shape, max_step_tokens=config.max_step_tokens, max_running=running,
                      max_seq_len=config.seq_len_limit(shape))  # fmt: skip
    return usable - work


def _usable(free_bytes: int) -> int:
    return free_bytes - max(_SPARE_BYTES, int(_SPARE_SHARE * free_bytes))


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
