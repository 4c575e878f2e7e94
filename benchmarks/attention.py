"""How long does attention take over the blocks of a KV cache, for one layer?

Decode reads every visible key and value for one token of each sequence, so its bound is memory:
beside it stands the rate at which this machine read a large array in the same run. Prefill reads
each key for many tokens, so its bound is arithmetic: 4 · H · D floating-point operations for
every pair of a token and a position it sees. The native kernels run in each of their formats,
next to torch's scaled_dot_product_attention in float32 (`SdpaBackend`). Calls go round over
several layers, so that a call does not find what the last one left in the caches.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import torch
from _report import arguments, finish, median_and_p95, seconds_of

from sirocco import native
from sirocco.attention.base import Span
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.attention.sdpa import SdpaBackend
from sirocco.kvcache.format import FLOAT16, FLOAT32, INT8, KvFormat
from sirocco.kvcache.pool import KVCache, NativeKVCache
from sirocco.model.config import ModelConfig
from sirocco.model.presets import preset

BLOCK_SIZE = 16
CALLS_A_RUN = 16
CACHE_BYTES = 400e6
"""The layers that calls go round over hold about this much together, if 2 to 8 of them do."""

Backend = NativePagedBackend | SdpaBackend


@dataclass(frozen=True, slots=True)
class Load:
    """Sequences of the same length, of which each brings its last n_tokens to a step."""

    name: str
    n_sequences: int
    n_tokens: int
    length: int

    def pairs(self, window: int | None) -> int:
        """Count the pairs of a token and a position that it sees."""
        first = self.length - self.n_tokens
        seen = range(first + 1, self.length + 1)
        return self.n_sequences * sum(min(n, window or n) for n in seen)


LOADS = (
    Load("decode, 1 of 128", 1, 1, 128),
    Load("decode, 1 of 2048", 1, 1, 2048),
    Load("decode, 16 of 128", 16, 1, 128),
    Load("decode, 16 of 2048", 16, 1, 2048),
    Load("prefill, 512 tokens", 1, 512, 512),
)


def main() -> None:
    """Measure, print a table and one JSON line."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--presets", nargs="+", default=["tinyllama-1.1b", "mistral-7b"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--isa", help="one of sirocco.native.isas(); the fastest if not given")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    native.set_n_threads(options.threads)
    gb_per_s = measured_gb_per_s(options.runs)
    print(f"{options.threads} threads; this machine reads {gb_per_s:.1f} GB/s")

    rows: list[dict[str, object]] = []
    for name in options.presets:
        for load in LOADS:
            for row in measured(preset(name), load, options.isa, options.runs):
                rows.append({"preset": name, **row, "bound_gb_per_s": round(gb_per_s, 1)})
                show(rows[-1])
    finish("attention", rows, save=options.save)


def measured_gb_per_s(n_runs: int) -> float:
    """Measure how fast a large array is read (a sum of its numbers)."""
    values = torch.ones(64 * 1024**2)
    median_s, _ = median_and_p95(seconds_of(values.sum, n_runs))
    return values.numel() * 4 / median_s / 1e9


@torch.inference_mode()
def measured(
    shape: ModelConfig, load: Load, isa: str | None, n_runs: int
) -> Iterator[dict[str, object]]:
    """Measure one load with every backend, one after the other."""
    pairs = load.pairs(shape.window)
    # Decode reads a position once for every pair; prefill reads it once for many.
    positions = pairs if load.n_tokens == 1 else load.n_sequences * load.length
    for backend_name, kv_format, make in backends(shape, isa):
        per_token = kv_format.bytes_per_token(shape) // shape.n_layers
        n_layers = int(CACHE_BYTES / (load.n_sequences * load.length * per_token))
        call = make_call(make(max(2, min(8, n_layers)), load), shape, load)
        times = [t / CALLS_A_RUN for t in seconds_of(call, n_runs)]
        median_s, p95_s = median_and_p95(times)
        yield {
            "row": load.name, "backend": backend_name, "us_per_layer": round(median_s * 1e6, 1),
            "p95_us": round(p95_s * 1e6, 1),
            "gb_per_s": round(positions * per_token / median_s / 1e9, 2),
            "gflop_per_s": round(4 * shape.n_heads * shape.head_dim * pairs / median_s / 1e9, 1),
        }  # fmt: skip


Make = Callable[[int, Load], tuple[Backend, int]]


def backends(shape: ModelConfig, isa: str | None) -> Iterator[tuple[str, KvFormat, Make]]:
    """Name, format, and a function from (layers, load) to (backend, layers)."""

    def cache_shape(n_layers: int, load: Load) -> dict[str, int]:
        return {
            "n_layers": n_layers, "block_size": BLOCK_SIZE, "n_kv_heads": shape.n_kv_heads,
            "head_dim": shape.head_dim, "n_blocks": n_blocks(load),
        }  # fmt: skip

    def make_native(kv_format: KvFormat) -> Make:
        def make(n_layers: int, load: Load) -> tuple[Backend, int]:
            cache = NativeKVCache(**cache_shape(n_layers, load), format=kv_format)
            return NativePagedBackend(cache, window=shape.window, isa=isa), n_layers

        return make

    def make_sdpa(n_layers: int, load: Load) -> tuple[Backend, int]:
        return SdpaBackend(KVCache(**cache_shape(n_layers, load)), window=shape.window), n_layers

    for kv_format in (FLOAT16, INT8, FLOAT32):
        yield f"native {kv_format.name}", kv_format, make_native(kv_format)
    yield "sdpa float32", FLOAT32, make_sdpa


def n_blocks(load: Load) -> int:
    """Blocks that all sequences need."""
    return load.n_sequences * -(-load.length // BLOCK_SIZE)


def make_call(made: tuple[Backend, int], shape: ModelConfig, load: Load) -> Callable[[], None]:
    """Fill the cache, and return what attends to the load CALLS_A_RUN times."""
    backend, n_layers = made
    order = torch.randperm(n_blocks(load), generator=torch.Generator().manual_seed(0))
    tables = order.view(load.n_sequences, -1).tolist()
    for layer in range(n_layers):
        for table in tables:
            span = Span(0, load.length, table)
            backend.attend(*random_qkv(shape, load.length), layer, backend.plan([span]))  # type: ignore[arg-type]
    first = load.length - load.n_tokens
    plan = backend.plan([Span(first, load.n_tokens, table) for table in tables])
    q, k, v = random_qkv(shape, load.n_sequences * load.n_tokens)
    layers = cycle(range(n_layers))

    def call() -> None:
        for _ in range(CALLS_A_RUN):
            backend.attend(q, k, v, next(layers), plan)  # type: ignore[arg-type]

    return call


def random_qkv(
    shape: ModelConfig, n_tokens: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw queries, keys and values of unit variance."""
    heads = (shape.n_heads, shape.n_kv_heads, shape.n_kv_heads)
    q, k, v = (torch.randn(n_tokens, n, shape.head_dim) for n in heads)
    return q, k, v


def show(row: dict[str, object]) -> None:
    """Print a line of the table for people."""
    print(
        f"  {row['preset']:<16}{row['row']:<21}{row['backend']:<16}{row['us_per_layer']:>10,} µs"
        f"{row['gb_per_s']:>8} GB/s{row['gflop_per_s']:>8} GFLOP/s",
        flush=True,
    )


if __name__ == "__main__":
    main()
