"""A rank of `test_parallel.py`: RANK PORT. It writes what it found as a line of JSON."""

import json
import os
import sys
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from sirocco.engine.config import EngineConfig
from sirocco.engine.engine import Engine
from sirocco.engine.parallel import ParallelRunner
from sirocco.engine.request import Request
from sirocco.errors import ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.parallel import config_of_rank
from sirocco.model.random_model import random_model
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.types import SamplingParams

SHAPE = ModelConfig(
    vocab_size=259, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48,
    window=12, max_seq_len=64,
)  # fmt: skip
CONFIG = EngineConfig(
    attention="sdpa", block_size=4, max_running=4, max_step_tokens=8, n_guesses=0,
    kv_cache_bytes=2**20,
)  # fmt: skip


def network():
    """Make the same whole network on every rank, livelier than a random one is."""
    model = random_model(SHAPE, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model


def answers(engine):
    """Answer two prompts greedily."""
    for name, prompt in (("a", b"one wind"), ("b", b"seven winds blow from the sea")):
        sampling = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
        engine.add(Request(name, list(prompt), sampling))
    token_ids: dict[str, list[int]] = {"a": [], "b": []}
    while engine.has_work:
        for piece in engine.step():
            token_ids[piece.request_id] += piece.token_ids
    return token_ids


def main(rank, port):
    """Run one rank."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    found = {}
    if rank == 0:
        found["alone"] = answers(Engine(network(), ByteTokenizer(), CONFIG))
        try:
            config_of_rank(replace(SHAPE, n_heads=3, n_kv_heads=3), 2)
        except ConfigError as error:
            found["refused"] = str(error)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = network()
    if rank == 0:
        engine = Engine(model, ByteTokenizer(), CONFIG, make_runner=ParallelRunner)
        runner: Any = engine.runner
        found["together"] = answers(engine)
        runner.finish()
    else:
        runner = ParallelRunner(model, CONFIG)
        runner.follow()
    cache = runner.backend.cache
    found["n_heads"] = model.config.n_heads
    found["cache_bytes"] = sum(t.nbytes for t in (*cache.k, *cache.v))
    dist.destroy_process_group()
    print(json.dumps(found))  # noqa: T201 - that is what it is for


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
