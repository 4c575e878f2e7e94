"""A study so small that it takes seconds, and is run once for all tests that look at it."""

from dataclasses import replace

import pytest
import torch

from sirocco.lab.size import MIB, LabSize, quick
from sirocco.lab.study import Work


@pytest.fixture(scope="session")
def tiny():
    """The quick study with smaller networks, shorter texts and fewer of them."""
    size = quick()
    shape = replace(size.quality.shape, vocab_size=300, dim=32, head_dim=4, hidden_dim=64)
    speed = replace(size.decode.shape, vocab_size=512, dim=64, head_dim=8, hidden_dim=128)
    return LabSize(
        "tiny",
        replace(
            size.quality, shape=shape, seq_len=32, batch_size=2, n_held_out=2, window=8,
            long_seq_len=96, n_long_rows=2,
        ),
        replace(
            size.decode, shape=speed, contexts=(32, 64, 256), kv_cache_bytes=MIB // 2, n_runs=1,
            window=64,
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def told():
    """What the study said that it does, and how many steps each part had and did."""
    return {}


@pytest.fixture(scope="session")
def study(tiny, told, tmp_path_factory):
    def tell(what, n_steps):
        told[what] = [n_steps, 0]

        def on_step():
            told[what][1] += 1

        return on_step

    torch.manual_seed(0)
    return Work(tiny, tmp_path_factory.mktemp("study"), steps=3, tell=tell).study()
