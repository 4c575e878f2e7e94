"""Measure this machine with the very kernels that serve: `python -m sirocco.plan.measuring`.

It prints one JSON object. The process that speaks HTTP holds no tensors, so it asks a child.
"""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import cycle
from time import perf_counter
from typing import Any

import torch

from sirocco import native
from sirocco.attention.base import Span
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.kvcache.format import FLOAT16
from sirocco.kvcache.pool import NativeKVCache
from sirocco.native.linear import FloatMatrix, Matrix, QuantizedMatrix, linear, pack, quantize

_SIDE = 4096
"""Rows and columns of the matrices that are multiplied, as in a 7B."""

_BYTES = 256e6
"""Together the matrices hold this much, which no cache does."""

_MANY_ROWS = 64
_CONTEXT, _N_SEQUENCES = 2048, 8
_PATIENCE_S = 0.4
"""How long one figure may take; the best time counts, since others use the machine, too."""


def main() -> None:
    """Measure and print."""
    sys.stdout.write(json.dumps(measured()))


@torch.inference_mode()
def measured() -> dict[str, Any]:
    """Measure how fast weights are read and multiplied, and how fast attention goes.

    Returns: `read_bytes_per_s`; `operations_per_s` by weight format; `attention_operations_per_s`,
        where a group of 8 heads shares each key. Raises: BackendUnavailable without the kernels.
    """
    native.set_n_threads(native.n_threads())
    x = torch.randn(_MANY_ROWS, _SIDE)
    reading, multiplying = [], {}
    for name, matrices, n_bytes in _formats():
        reading.append(n_bytes / _best_s(_turns(matrices, x[:1])))
        multiplying[name] = 2 * _MANY_ROWS * _SIDE**2 / _best_s(_turns(matrices, x))
    return {
        "read_bytes_per_s": max(reading),
        "operations_per_s": multiplying,
        "attention_operations_per_s": _attention_rate(),
        "threads": native.n_threads(),
        "isa": native.isas()[0],
    }


def _formats() -> Sequence[tuple[str, list[Matrix], int]]:
    """Matrices of each format, and the bytes of one."""
    weight = torch.randn(_SIDE, _SIDE)
    floats = pack(weight)
    found: list[tuple[str, list[Matrix], int]] = [
        ("float32", _copies(floats, floats.panels.nbytes), floats.panels.nbytes)
    ]
    for bits in (8, 4):
        matrix = quantize(weight, bits)
        n_bytes = matrix.tiles.nbytes + matrix.scales.nbytes
        found.append((f"q{bits}", _copies(matrix, n_bytes), n_bytes))
    return found


def _copies(matrix: Matrix, n_bytes: int) -> list[Matrix]:
    return [matrix, *(_copy(matrix) for _ in range(int(_BYTES // n_bytes)))]


def _copy(matrix: Matrix) -> Matrix:
    if isinstance(matrix, QuantizedMatrix):
        return QuantizedMatrix(matrix.tiles.clone(), matrix.scales.clone(), matrix.n_rows)
    return FloatMatrix(matrix.panels.clone(), matrix.n_rows)


def _turns(matrices: list[Matrix], x: torch.Tensor) -> Callable[[], object]:
    """Multiply with one matrix after the other, so that none is still in a cache."""
    following = cycle(matrices)
    return lambda: linear(x, [next(following)])


def _attention_rate() -> float:
    """Operations per second of decode with groups of 8, which multiply more than they read."""
    n_kv_heads, group, head_dim, block_size = 4, 8, 128, 16
    n_blocks = _N_SEQUENCES * _CONTEXT // block_size
    cache = NativeKVCache(
        n_layers=2, n_blocks=n_blocks, block_size=block_size, n_kv_heads=n_kv_heads,
        head_dim=head_dim, format=FLOAT16,
    )  # fmt: skip
    for tensor in (*cache.k, *cache.v):
        tensor.zero_()
    backend = NativePagedBackend(cache)
    per_sequence = n_blocks // _N_SEQUENCES
    spans = [
        Span(
            first_position=_CONTEXT - 1, n_tokens=1,
            block_ids=list(range(i * per_sequence, (i + 1) * per_sequence)), n_reclaimed=0,
        )
        for i in range(_N_SEQUENCES)
    ]  # fmt: skip
    plan = backend.plan(spans)
    q = torch.randn(_N_SEQUENCES, n_kv_heads * group, head_dim)
    k, v = (torch.randn(_N_SEQUENCES, n_kv_heads, head_dim) for _ in range(2))
    layers = cycle(range(2))
    seconds = _best_s(lambda: backend.attend(q, k, v, next(layers), plan))
    return 4 * n_kv_heads * group * head_dim * _N_SEQUENCES * _CONTEXT / seconds


def _best_s(work: Callable[[], object]) -> float:
    """Shortest time of one call, over at least 5 and for a while."""
    best, until, n_calls = float("inf"), perf_counter() + _PATIENCE_S, 0
    while n_calls < 5 or perf_counter() < until:
        started = perf_counter()
        work()
        best = min(best, perf_counter() - started)
        n_calls += 1
    return best


if __name__ == "__main__":
    main()
