"""The engine's own numbers, checked once. It knows no environment and no files."""

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from sirocco.errors import ConfigError
from sirocco.kvcache.format import KV_FORMATS, TRITON_FORMATS, KvFormat
from sirocco.model.config import ModelConfig

if TYPE_CHECKING:
    import torch

_ATTENTION = ("auto", "native", "triton", "flashinfer", "sdpa")

_KV_FORMATS = ("auto", *{**KV_FORMATS, **TRITON_FORMATS})

_DEFAULT_SEQUENCES = 8
"""A KV cache of default size holds this many sequences of full length, if memory allows."""

_MEMORY_SHARE = 0.25
"""… but takes no more than this share of the memory that is free when it is made."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How much an engine does at once.

    Attributes:
        max_seq_len: prompt plus output tokens of one request; None is the model's own limit.
        block_size: positions in a block of the KV cache.
        kv_cache_bytes: size of the KV cache; None is enough for 8 sequences of full length,
            but at most a quarter of the free memory. On a GPU it is enough for `max_running` of
            them, but at most what is left (`fitting.py`).
        max_step_tokens: tokens that one step computes at most, over all sequences.
        step_target_s: seconds that a step should take: prompts are cut to that on a slow machine.
        max_running: sequences that hold blocks at the same time.
        max_waiting: requests that may wait; one more is refused.
        attention: what computes it: auto, native, triton, flashinfer or sdpa.
        kv_format: how keys and values are kept: auto, float32, float16, bfloat16, int8 or fp8; not
            every way to attend takes each.
        n_guesses: tokens that a step guesses and checks at most for a sequence, where the model
            `is_batch_invariant`; 0 turns it off.
        prefix_cache: keep keys and values of finished answers for as long as their blocks are not
            needed, so that prompts of one account compute a common beginning once.

    Raises: ConfigError naming the field, its value and its limit.
    """

    max_seq_len: int | None = None
    block_size: int = 16
    kv_cache_bytes: int | None = None
    max_step_tokens: int = 512
    step_target_s: float = 0.05
    max_running: int = 64
    max_waiting: int = 256
    attention: str = "auto"
    kv_format: str = "auto"
    n_guesses: int = 4
    prefix_cache: bool = True

    def __post_init__(self) -> None:
        for name, known in (("attention", _ATTENTION), ("kv_format", _KV_FORMATS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0.0 < self.step_target_s < math.inf:
            raise ConfigError(f"step_target_s must be > 0, got {self.step_target_s!r}")
        for field in fields(self):
            if field.name in ("attention", "kv_format", "prefix_cache", "step_target_s"):
                continue
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            least = 0 if field.name == "n_guesses" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"{field.name} must be an integer of at least {least}, got {value!r}"
                )
        if self.max_running > self.max_step_tokens:
            # Every running sequence advances in every step, so each needs a token of the budget.
            raise ConfigError(
                f"max_running must be at most max_step_tokens {self.max_step_tokens}, "
                f"got {self.max_running}"
            )

    def seq_len_limit(self, model: ModelConfig) -> int:
        """Tokens that one request may have. Raises: ConfigError beyond what the model holds."""
        if self.max_seq_len is None:
            return model.max_seq_len
        if self.max_seq_len > model.max_seq_len:
            raise ConfigError(
                f"max_seq_len must be at most the model's {model.max_seq_len}, "
                f"got {self.max_seq_len}"
            )
        return self.max_seq_len

    def n_blocks(self, model: ModelConfig, *, kv_format: KvFormat, device: "torch.device") -> int:
        """Blocks in the KV cache. Raises: ConfigError if not one block fits."""
        block_bytes = self.block_size * kv_format.bytes_per_token(model)
        size_bytes = self.kv_cache_bytes
        if size_bytes is None:
            held = self.seq_len_limit(model)
            if model.window is not None:
                held = min(held, model.window + self.max_step_tokens)
            blocks_per_sequence = -(-held // self.block_size) + 1
            wanted = _DEFAULT_SEQUENCES * blocks_per_sequence * block_bytes
            size_bytes = min(wanted, int(_MEMORY_SHARE * free_memory_bytes(device)))
        if size_bytes < block_bytes:
            raise ConfigError(
                f"kv_cache_bytes must be at least {block_bytes}, the size of one block; "
                f"got {size_bytes}"
            )
        return size_bytes // block_bytes


def free_memory_bytes(device: "torch.device") -> int:
    """Bytes that a new allocation on `device` may count on, as far as the system tells."""
    if device.type == "cuda":
        import torch  # noqa: PLC0415 - slow to import, and settings are read without it

        torch.cuda.empty_cache()  # what torch keeps for itself is free, too
        return torch.cuda.mem_get_info(device)[0]
    try:
        # Unlike SC_AVPHYS_PAGES this counts the page cache, which yields to allocations.
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
