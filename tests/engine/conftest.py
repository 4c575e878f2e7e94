"""Small real things: a tiny network of every feature, and an engine around it."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.kvcache.format import FLOAT32
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.tokenizer.byte import ByteTokenizer

TINY = ModelConfig(
    vocab_size=259, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48,
    window=16, max_seq_len=256,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_engine() -> Callable[..., Engine]:
    """Build an engine whose KV cache has room for a number of blocks."""

    def make(
        n_blocks: int = 64, *, model=None, block_size: int = 4, clock=time.monotonic, **limits: Any
    ) -> Engine:
        # Weights of std 0.2: answers differ from token to token, and do not fall into a loop.
        model = model or lively(random_model(TINY, seed=3))
        block_bytes = block_size * FLOAT32.bytes_per_token(model.config)
        config = EngineConfig(
            block_size=block_size, kv_cache_bytes=n_blocks * block_bytes, **limits
        )
        return Engine(model, ByteTokenizer(), config, clock=clock)

    return make


def lively(model):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10.0)
    return model


@pytest.fixture
def run_all() -> Callable[..., dict[str, list[int]]]:
    """Step an engine until it is done; give the token ids of each answer."""

    def run(engine: Engine, *, check: bool = True) -> dict[str, list[int]]:
        token_ids: dict[str, list[int]] = {}
        while engine.has_work:
            for piece in engine.step():
                token_ids.setdefault(piece.request_id, []).extend(piece.token_ids)
            if check:
                engine.scheduler.check_integrity()
        return token_ids

    return run
