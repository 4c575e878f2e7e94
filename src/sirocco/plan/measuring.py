"""Measure this machine with the very kernels that serve: `python -m sirocco.plan.measuring`.

It prints one JSON object. The process that speaks HTTP holds no tensors, so it asks a child.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from statistics import median
from time import perf_counter
from typing import Any

import torch

from sirocco import native
from sirocco.attention.base import Span
from sirocco.attention.native_paged import NativePagedBackend
from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.request import Request
from sirocco.engine.runner import ModelRunner
from sirocco.kvcache.format import FLOAT16
from sirocco.kvcache.pool import NativeKVCache
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, NativeEmbedding, NativeLinear, place, place_matrix
from sirocco.model.random_model import random_model
from sirocco.model.transformer import Transformer
from sirocco.native.linear import FloatMatrix, Matrix, QuantizedMatrix
from sirocco.plan.needs import BITS_PER_WEIGHT, Needs
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import SamplingParams

_SHAPE = ModelConfig(
    vocab_size=2048, dim=2048, hidden_dim=5632, n_layers=1, n_heads=32, n_kv_heads=4, head_dim=64,
    max_seq_len=2048, tie_embeddings=True,
)  # fmt: skip
"""A network as wide as one of 1.1 billion weights."""

_BYTES = 128e6
"""Its layers together hold at least this much, which no cache does."""

_ROWS = (1, 4, 8, 16, 64)
"""Tokens in a step; between them a plan draws straight lines."""

_FORMATS = ("float32", "q8", "q4")
_CONTEXT, _N_SEQUENCES = 2048, 8
_PATIENCE_S = 0.3
"""How long one figure may take. The median counts: others use the machine, too, and a step of
thousands of products meets them as often as any of these does."""

_STEPS = 25
"""Steps of which a median is taken."""


def main() -> None:
    """Measure and print."""
    sys.stdout.write(json.dumps(measured()))


@torch.inference_mode()
def measured() -> dict[str, Any]:
    """Measure how fast weights are read and multiplied, how fast attention goes, and the rest.

    Returns: `read_bytes_per_s`; `operations_per_s` by weight format; `attention_operations_per_s`,
        where a group of 8 heads shares each key; `steps` as in `hardware.Steps`.
    Raises: BackendUnavailable without the kernels.
    """
    native.set_n_threads(native.n_threads())
    weight_s = {name: _weight_s(name) for name in _FORMATS}
    return {
        "read_bytes_per_s": max(BITS_PER_WEIGHT[n] / 8 / of[0][1] for n, of in weight_s.items()),
        "operations_per_s": {name: 2 * of[-1][0] / of[-1][1] for name, of in weight_s.items()},
        "attention_operations_per_s": _attention_rate(),
        "steps": {"weight_s": weight_s, **_rest()},
        "threads": native.n_threads(),
        "isa": native.isas()[0],
    }


def _weight_s(name: str) -> list[tuple[int, float]]:
    """Seconds for each weight, by tokens in the step, of a network in this format.

    The network runs as a whole. Products alone are faster, the more so the more tokens: between
    them norms, roundings and the feed-forward's own function take their time.
    """
    runner = ModelRunner(_wide(name), EngineConfig(kv_cache_bytes=2**24, max_running=_ROWS[-1]))
    n_weights = Needs(runner.shape, name, runner.kv_format).n_in_matrices
    found = []
    for n_rows in _ROWS:
        spans = [
            Span(first_position=0, n_tokens=1, block_ids=[i], n_reclaimed=0) for i in range(n_rows)
        ]
        seconds = _typical_s(partial(runner.forward, [3] * n_rows, spans))
        found.append((n_rows, seconds / n_weights))
    return found


def _wide(name: str) -> Transformer:
    """Make a network whose layers are copies of one: to draw and round each takes too long."""
    form = FORMATS[name]
    one = random_model(_SHAPE, weights=form)
    layer_bytes = _SHAPE.n_parameters * BITS_PER_WEIGHT[name] / 8
    with torch.device("meta"):
        model = Transformer(replace(_SHAPE, n_layers=1 + int(_BYTES // layer_bytes)))
    for parameter, _ in list(model.named_parameters()):
        owner, _, attribute = re.sub(r"^layers\.\d+", "layers.0", parameter).rpartition(".")
        original = one.get_submodule(owner)
        if isinstance(original, NativeLinear | NativeEmbedding):
            place_matrix(model, parameter, _copy(original.matrix))
        else:
            place(model, parameter, getattr(original, attribute), form)
    return model.eval()


def _rest() -> dict[str, float]:
    """Seconds of a step without its matrices: in itself, for each layer, for each sequence.

    The engine decodes with networks so narrow that their matrices are nothing, of few and of many
    layers, and with few and many sequences; what is more in one than in the other is a layer's, or
    a sequence's.
    """
    few_layers, many_layers = 2, 26
    engines = {n: _narrow(n) for n in (few_layers, many_layers)}
    few = _step_s(engines[few_layers], 1)
    layer_s = max(0.0, _step_s(engines[many_layers], 1) - few) / (many_layers - few_layers)
    sequence_s = max(0.0, _step_s(engines[few_layers], _N_SEQUENCES) - few) / (_N_SEQUENCES - 1)
    step_s = max(0.0, few - few_layers * layer_s - sequence_s)
    return {"step_s": step_s, "layer_s": layer_s, "sequence_s": sequence_s}


def _narrow(n_layers: int) -> Engine:
    """Make an engine whose network has a vocabulary to choose from, and next to no weights."""
    shape = ModelConfig(
        vocab_size=32_000, dim=64, hidden_dim=64, n_layers=n_layers, n_heads=2, n_kv_heads=1,
        head_dim=32, max_seq_len=256,
    )  # fmt: skip
    model = random_model(shape, weights=FORMATS["q4"])
    config = EngineConfig(kv_cache_bytes=2**23, max_running=_N_SEQUENCES, n_guesses=0)
    return Engine(model, ByteTokenizer(vocab_size=shape.vocab_size), config)


def _step_s(engine: Engine, n_sequences: int) -> float:
    """Typical seconds of a step in which so many sequences write a token each."""
    sampling = SamplingParams(max_tokens=4 * _STEPS, temperature=0, ignore_eos=True)
    for n in range(n_sequences):
        engine.add(Request(f"{n}", [3 + n, 4, 5], sampling))
    for _ in range(3):
        engine.step()  # prompts, and what the first steps find cold
    seconds = []
    for _ in range(_STEPS):
        started = perf_counter()
        engine.step()
        seconds.append(perf_counter() - started)
    for n in range(n_sequences):
        engine.abort(f"{n}")
    return median(seconds)


def _copy(matrix: Matrix) -> Matrix:
    if isinstance(matrix, QuantizedMatrix):
        return QuantizedMatrix(matrix.tiles.clone(), matrix.scales.clone(), matrix.n_rows)
    return FloatMatrix(matrix.panels.clone(), matrix.n_rows)


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
    seconds = _typical_s(lambda: backend.attend(q, k, v, next(layers), plan))
    return 4 * n_kv_heads * group * head_dim * _N_SEQUENCES * _CONTEXT / seconds


def _typical_s(work: Callable[[], object]) -> float:
    """Median time of one call, over at least 5 and for a while."""
    seconds: list[float] = []
    until = perf_counter() + _PATIENCE_S
    while len(seconds) < 5 or perf_counter() < until:
        started = perf_counter()
        work()
        seconds.append(perf_counter() - started)
    return median(seconds)


if __name__ == "__main__":
    main()
