"""Several sequences over one poisoned cache, for any backend."""

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.left_out import TRITON, leave_out
from torch import Tensor

from sirocco.attention.base import AttentionBackend, Span
from sirocco.attention.choice import has_triton
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.attention.sdpa import SdpaBackend
from sirocco.kvcache.block_manager import BlockManager
from sirocco.kvcache.format import KV_FORMATS
from sirocco.kvcache.pool import KVCache, NativeKVCache

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernels are first imported

N_HEADS, HEAD_DIM = 8, 16
POISON = -128
"""Stands for NaN in int8: a number that nobody stores."""

TOLERANCE: dict[str, Any] = {
    "float32": {"atol": 1e-5, "rtol": 1e-5},  # the order of sums differs
    "bfloat16": {"atol": 3e-2, "rtol": 3e-2},  # 8 bits of mantissa
    "float16": {"atol": 4e-3, "rtol": 4e-3},  # 11 bits of mantissa in keys and values
    # Steps of |largest| / 127, so errors up to 0.4 % of the largest of D numbers (about 2.5 of
    # unit variance), in the values and, times |q|, in the scores.
    "int8": {"atol": 5e-2, "rtol": 5e-2},
    "fp8": {"atol": 0.3, "rtol": 0.1},  # 4 bits of mantissa; exact checks read the cache
}


@dataclass(frozen=True)
class Variant:
    """A backend over a cache of one format."""

    backend: str
    format: str

    @property
    def tolerance(self) -> Any:
        return TOLERANCE[self.format]

    def make(self, *, window: int | None, **shape: int) -> tuple[Any, list[Tensor], Any]:
        """Return the cache, its tensors and a backend over it."""
        if self.backend == "sdpa":
            cache = KVCache(**shape, dtype=getattr(torch, self.format))  # type: ignore[arg-type]
            return cache, [*cache.k, *cache.v], SdpaBackend(cache, window=window)
        if self.backend == "triton":
            return self._make_triton(window, shape)
        native_cache = NativeKVCache(**shape, format=KV_FORMATS[self.format])
        scales = [*native_cache.k_scales, *native_cache.v_scales]
        tensors = [*native_cache.k, *native_cache.v, *[s for s in scales if s is not None]]
        return native_cache, tensors, NativePagedBackend(native_cache, window=window)

    def _make_triton(self, window: int | None, shape: dict[str, int]) -> tuple[Any, Any, Any]:
        if not has_triton():
            leave_out(TRITON)
        from sirocco.attention.triton_paged import Tiling, TritonPagedBackend

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float8_e4m3fn if self.format == "fp8" else getattr(torch, self.format)
        cache = KVCache(**shape, dtype=dtype, device=device)
        scales = [s for s in (*cache.k_scales, *cache.v_scales) if s is not None]
        # Short splits, so that short sequences have several.
        backend = TritonPagedBackend(
            cache, group_size=N_HEADS // shape["n_kv_heads"], window=window,
            tiling=Tiling(rows=64, keys=16, split=32),
        )  # fmt: skip
        return cache, [*cache.k, *cache.v, *scales], backend


VARIANTS = [
    Variant("sdpa", "float32"),
    Variant("native", "float32"),
    Variant("native", "float16"),
    Variant("native", "int8"),
    Variant("triton", "float32"),
    Variant("triton", "float16"),
]


def every_variant_with(**axes: list[Any]) -> pytest.MarkDecorator:
    """Parametrise with every backend and every combination of these values.

    Triton's interpreter takes a thousand times as long as a kernel, so its backend meets a part:
    every pair of values in float32 (every value, if two are all), and every value in float16,
    without those of many steps.
    """

    def has_many(value: Any) -> bool:
        return isinstance(value, list) and len(value) > 10

    combinations = list(itertools.product(*axes.values()))
    cases = []
    for one in VARIANTS:
        some, marks = combinations, []
        if one.backend == "triton":
            few_steps = [values for values in combinations if not any(map(has_many, values))]
            wants_pairs = one.format == "float32" and len(axes) > 2
            some = covering(few_steps, n_at_once=2 if wants_pairs else 1)
            marks = [pytest.mark.timeout(900)]  # for machines that are busy
        for values in some:
            name = f"{one.backend}-{one.format}-" + "-".join(map(str, values))
            cases.append(pytest.param(one, *values, id=name, marks=marks))
    return pytest.mark.parametrize(("variant", *axes), cases)


def covering(combinations: list[tuple[Any, ...]], *, n_at_once: int) -> list[tuple[Any, ...]]:
    """Choose some in which all values (or pairs, for 2) occur that occur in all of them."""

    def parts(values: tuple[Any, ...]) -> set[Any]:
        return set(itertools.combinations(enumerate(map(str, values)), n_at_once))

    left = set().union(*map(parts, combinations))
    chosen = []
    while left:
        best = max(combinations, key=lambda values: len(parts(values) & left))
        chosen.append(best)
        left -= parts(best)
    return chosen


@pytest.fixture(params=VARIANTS, ids=lambda v: f"{v.backend}-{v.format}")
def variant(request: pytest.FixtureRequest) -> Variant:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=VARIANTS[1:4], ids=lambda v: f"{v.backend}-{v.format}")
def native_variant(request: pytest.FixtureRequest) -> Variant:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def sdpa_bfloat16() -> Variant:
    return Variant("sdpa", "bfloat16")


@pytest.fixture
def make_qkv() -> Callable[..., list[Tensor]]:
    def make(seq_len, n_kv_heads, seed=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(1000 * seed + seq_len)
        heads = (N_HEADS, n_kv_heads, n_kv_heads)
        return [torch.randn((seq_len, h, HEAD_DIM), generator=generator).to(dtype) for h in heads]

    return make


class Paged:
    """Sequences whose blocks lie scattered over a cache full of NaN."""

    def __init__(self, variant, *, n_kv_heads, block_size, window, n_blocks=256):
        self.cache, self.tensors, backend = variant.make(
            n_layers=2, n_blocks=n_blocks, block_size=block_size, n_kv_heads=n_kv_heads,
            head_dim=HEAD_DIM, window=window,
        )  # fmt: skip
        self.backend: AttentionBackend[Any] = backend
        for tensor in self.tensors:
            poison(tensor)
        self.device = self.tensors[0].device
        self.blocks = BlockManager(n_blocks, block_size)
        random.Random(block_size).shuffle(self.blocks._free)  # noqa: S311 - not a secret
        self.window = window

    @staticmethod
    def is_poison(tensor):
        return tensor == POISON if tensor.dtype == torch.int8 else tensor.isnan()

    def poison_what_is_behind(self, table, position):
        """Give back blocks behind the window, filled with NaN, as a churning pool would."""
        if self.window is None:
            return
        before = list(table.block_ids)
        self.blocks.reclaim(table, position - self.window + 1)
        for block_id in set(before) - set(table.block_ids):
            for tensor in self.tensors:
                poison(tensor[block_id])

    def run(self, sequences, chunkings, layer=1):
        """Attend to every sequence in its chunks; step i holds the i-th chunk of each."""
        tables = [self.blocks.open() for _ in sequences]
        done = [0] * len(sequences)
        outs: list[list[Tensor]] = [[] for _ in sequences]
        for step in range(max(map(len, chunkings))):
            live = [i for i, chunks in enumerate(chunkings) if step < len(chunks)]
            spans, parts = [], []
            for i in live:
                n = chunkings[i][step]
                self.poison_what_is_behind(tables[i], done[i])
                self.blocks.grow(tables[i], done[i] + n)
                spans.append(Span(done[i], n, tables[i].block_ids, tables[i].n_reclaimed))
                parts.append([x[done[i] : done[i] + n] for x in sequences[i]])
            q, k, v = (torch.cat([part[j] for part in parts]) for j in range(3))
            q, k, v = (x.to(self.device) for x in (q, k, v))
            out = self.backend.attend(q, k, v, layer, self.backend.plan(spans)).cpu()
            pieces = out.split([span.n_tokens for span in spans])
            for i, span, piece in zip(live, spans, pieces, strict=True):
                outs[i].append(piece)
                done[i] += span.n_tokens
        return [torch.cat(pieces) for pieces in outs]


def poison(tensor: Tensor) -> None:
    """Fill with NaN, or where there is none, with a number that nobody stores."""
    tensor.fill_(POISON if tensor.dtype == torch.int8 else torch.nan)


@pytest.fixture
def make_paged() -> type[Paged]:
    return Paged
