"""Tensors on their way to a device, which here is a CPU whose copies may be late."""

import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS
from sirocco.model.random_model import random_model
from sirocco.model.streaming import CudaCopies, PlainCopies, streamed
from sirocco.model.weights import load_model, save_model

SHAPE = ModelConfig(
    vocab_size=40, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=48,
)  # fmt: skip


class LateCopies(PlainCopies):
    """Copies as a GPU makes them: what a buffer holds goes out only when somebody waits."""

    n_late = 0

    def start(self, source, target, after):
        return LateLanding(source, target)


class LateLanding:
    def __init__(self, source, target):
        self._work: Any = (source, target)
        self._lock = threading.Lock()

    def wait(self):
        with self._lock:
            if self._work:
                source, target = self._work
                target.copy_(source)
                LateCopies.n_late += 1
            self._work = ()

    precede = wait


def random_bytes(shape, dtype, seed):
    n = torch.Size(shape).numel() * dtype.itemsize
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (n,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).view(shape)


def same_bytes(a, b):
    return torch.equal(a.contiguous().view(-1).view(torch.uint8),
                       b.contiguous().view(-1).view(torch.uint8))  # fmt: skip


@pytest.mark.parametrize("copies", [PlainCopies, LateCopies])
@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(
        st.one_of(st.tuples(st.integers(1, 90)), st.tuples(st.integers(1, 40), st.integers(1, 30))),
        max_size=6,
    ),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.uint8]),
    n_lanes=st.integers(1, 3),
    buffer_bytes=st.sampled_from([8, 64, 4096]),
    ahead_bytes=st.sampled_from([0, 100, 10**6]),
)
def test_every_byte_arrives_in_its_place(copies, shapes, dtype, **sizes):
    """Also where rows are longer than a buffer, and where a buffer is wanted again too early."""
    tensors = [(f"t{i}", random_bytes(shape, dtype, i)) for i, shape in enumerate(shapes)]

    arrived = list(streamed(tensors, copies, **sizes))

    assert [name for name, _ in arrived] == [name for name, _ in tensors]
    for (_, actual), (_, expected) in zip(arrived, tensors, strict=True):
        assert actual.shape == expected.shape
        assert actual.data_ptr() != expected.data_ptr()
        assert same_bytes(actual, expected)


def test_parts_that_do_not_lie_together_arrive():
    whole = random_bytes((20, 30), torch.float32, 0)
    parts = [("columns", whole.chunk(2, dim=1)[1]), ("rows", whole.chunk(2, dim=0)[1])]

    arrived = dict(streamed(parts, LateCopies, buffer_bytes=128))

    assert same_bytes(arrived["columns"], whole[:, 15:])
    assert same_bytes(arrived["rows"], whole[10:])


def test_no_more_is_under_way_than_was_allowed():
    begun: list[int] = []

    def tensors():
        for i in range(10):
            begun.append(i)
            yield str(i), torch.zeros(10, 10)

    stream = streamed(tensors(), PlainCopies, ahead_bytes=2 * 400)
    next(stream)

    assert begun == [0, 1, 2]
    stream.close()


def test_what_goes_wrong_on_the_way_is_told_and_nothing_hangs():
    class Broken(PlainCopies):
        def start(self, source, target, after):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(streamed([("a", torch.zeros(100, 4))], Broken, buffer_bytes=16))


@pytest.mark.parametrize("form", ["bfloat16", "fp8"])
def test_a_checkpoint_that_is_streamed_is_the_one_that_is_mapped(tmp_path, form):
    save_model(random_model(SHAPE, seed=4), tmp_path, dtype=torch.bfloat16)
    seen: list[tuple[int, int]] = []
    expected = load_model(tmp_path, weights=FORMATS[form])

    actual = load_model(
        tmp_path, weights=FORMATS[form], make_copies=LateCopies,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip

    for (name, a), (_, b) in zip(
        actual.state_dict().items(), expected.state_dict().items(), strict=True
    ):
        assert same_bytes(a, b), name
    assert seen == sorted(seen)
    assert seen[-1] == (2 * SHAPE.n_parameters, 2 * SHAPE.n_parameters)


def test_a_gpu_is_asked_for_streams_events_and_pinned_memory(monkeypatch):
    """With doubles of torch's classes, in the order in which a card must see it all."""
    told: list[str] = []

    class Stream:
        n = 0

        def __init__(self, device=None):
            Stream.n += 1
            self.name = f"lane{Stream.n}"

        def __enter__(self):
            current.append(self)

        def __exit__(self, *exc):
            current.pop()

        def wait_event(self, event):
            told.append(f"{self.name} waits for {event.name}")

    class Event:
        def record(self, stream):
            self.name = f"event of {stream.name}"
            told.append(f"{stream.name} records")

        def synchronize(self):
            told.append(f"host waits for {self.name}")

    main = Stream()
    main.name = "main"
    current = [main]
    empty = torch.empty
    pinned: list[bool] = []

    def plain_empty(*args, pin_memory=False, device=None, **kwargs):
        pinned.append(pin_memory)
        return empty(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", plain_empty)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    source = torch.arange(12.0).view(6, 2)

    ((_, arrived),) = streamed([("a", source)], lambda: CudaCopies(torch.device("cuda")),
                               n_lanes=1, buffer_bytes=16)  # fmt: skip

    lane = f"lane{Stream.n}"
    assert torch.equal(arrived, source)
    assert pinned == [True, True, False]  # two buffers, and the place on the card
    assert told[:3] == ["main records", f"{lane} waits for event of main", f"{lane} records"]
    assert told.count(f"main waits for event of {lane}") == 3
    assert f"host waits for event of {lane}" in told  # before its buffer was filled again
