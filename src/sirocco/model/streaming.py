"""Tensors from mapped files to a GPU, through a few buffers that it reads by itself.

A copy out of ordinary memory waits for the processor, which first copies to memory that cannot be
swapped out; here that is done by several threads, each with a stream and two such buffers of its
own: one is filled, which may mean reading a disk, while the other is on its way. So the disk, the
processors and the bus work at the same time, and the memory that it takes is bounded.
"""

import queue
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

N_LANES = 4
BUFFER_BYTES = 16 * 2**20
AHEAD_BYTES = 512 * 2**20
"""Bytes of tensors that are under way while the one before them is put in its place."""


class Landing(Protocol):
    """The end of a copy that was started."""

    def wait(self) -> None:
        """Wait for it."""
        ...

    def precede(self) -> None:
        """Let the device do what the calling thread starts next only after it."""
        ...


class Copies(Protocol):
    """Copies to a device, one after the other; several of these run side by side."""

    def buffer(self, n_bytes: int) -> Tensor:
        """Give memory of the host that copies start from: [n_bytes] uint8."""
        ...

    def target(self, shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Landing | None]:
        """Give memory of the device, and what has to end before it may be written."""
        ...

    def start(self, source: Tensor, target: Tensor, after: Landing | None) -> Landing:
        """Start to copy from a buffer, whose bytes must stay until the copy has landed."""
        ...


class PlainCopies:
    """Copies on the CPU, which are over when they return."""

    def buffer(self, n_bytes: int) -> Tensor:
        """See `Copies`."""
        return torch.empty(n_bytes, dtype=torch.uint8)

    def target(self, shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, None]:
        """See `Copies`."""
        return torch.empty(tuple(shape), dtype=dtype), None

    def start(self, source: Tensor, target: Tensor, after: Landing | None) -> Landing:  # noqa: ARG002 - see `Copies`
        """See `Copies`."""
        target.copy_(source)
        return _Landed()


class _Landed:
    def wait(self) -> None:
        pass

    def precede(self) -> None:
        pass


class CudaCopies:
    """Copies to a GPU in a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def buffer(self, n_bytes: int) -> Tensor:
        """See `Copies`; it is pinned."""
        return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)

    def target(self, shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Landing]:
        """See `Copies`: whoever had this memory before may still be at work with it."""
        made = torch.empty(tuple(shape), dtype=dtype, device=self._device)
        return made, self._landing(torch.cuda.current_stream(self._device))

    def start(self, source: Tensor, target: Tensor, after: Landing | None) -> Landing:
        """See `Copies`."""
        with torch.cuda.stream(self._stream):
            if after is not None:
                after.precede()
            target.copy_(source, non_blocking=True)
        return self._landing(self._stream)

    def _landing(self, stream: torch.cuda.Stream) -> Landing:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)
        return _CudaLanding(event, self._device)


@dataclass(frozen=True, slots=True)
class _CudaLanding:
    event: torch.cuda.Event
    device: torch.device

    def wait(self) -> None:
        self.event.synchronize()

    def precede(self) -> None:
        torch.cuda.current_stream(self.device).wait_event(self.event)


class _Lane:
    """A way to the device: while one buffer is on its way, the other is filled."""

    def __init__(self, copies: Copies, buffer_bytes: int) -> None:
        self._copies = copies
        self._buffers = [copies.buffer(buffer_bytes) for _ in range(2)]
        self._landings: list[Landing | None] = [None, None]
        self._turn = 0

    def send(self, source: Tensor, target: Tensor, after: Landing | None) -> Landing:
        """Copy rows that fit into a buffer: [n, …] → [n, …]."""
        self._turn ^= 1
        before = self._landings[self._turn]
        if before is not None:
            before.wait()  # its bytes have to stay until they have arrived
        part = self._buffers[self._turn][: source.nbytes].view(source.dtype).view(source.shape)
        part.copy_(source)  # this reads the file
        landing = self._copies.start(part, target, after)
        self._landings[self._turn] = landing
        return landing

    def wait(self) -> None:
        """Wait until both buffers are free."""
        for landing in self._landings:
            if landing is not None:
                landing.wait()


@dataclass(frozen=True, slots=True)
class _UnderWay:
    name: str
    target: Tensor
    parts: list["Future[Landing]"]


def streamed(
    tensors: Iterable[tuple[str, Tensor]],
    make_copies: Callable[[], Copies],
    *,
    n_lanes: int = N_LANES,
    buffer_bytes: int = BUFFER_BYTES,
    ahead_bytes: int = AHEAD_BYTES,
) -> Generator[tuple[str, Tensor], None, None]:
    """Bring tensors to a device, in their order, each whole when it is given.

    Args:
        tensors: by name; not all of one has to lie together, and nothing is read of it before its
            turn comes.
        make_copies: makes the copies of one lane.
        ahead_bytes: of tensors that are on their way, beside the one that was given last.
    """
    of_targets = make_copies()
    lanes: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
    for _ in range(n_lanes):
        lanes.put(_Lane(make_copies(), buffer_bytes))

    def send(source: Tensor, target: Tensor, after: Landing | None) -> Landing:
        lane = lanes.get()
        try:
            return lane.send(source, target, after)
        finally:
            lanes.put(lane)

    with ThreadPoolExecutor(n_lanes, "sirocco-loading") as pool:
        under_way: deque[_UnderWay] = deque()
        try:
            for name, tensor in tensors:
                source = tensor if _row_bytes(tensor) <= buffer_bytes else tensor.reshape(-1)
                target, after = of_targets.target(source.shape, source.dtype)
                parts = [
                    pool.submit(send, source[rows], target[rows], after)
                    for rows in _slices(source, buffer_bytes)
                ]
                under_way.append(_UnderWay(name, target.view(tensor.shape), parts))
                while sum(one.target.nbytes for one in under_way) > ahead_bytes:
                    yield _landed(under_way.popleft())
            while under_way:
                yield _landed(under_way.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            for _ in range(n_lanes):
                lanes.get().wait()


def _landed(one: _UnderWay) -> tuple[str, Tensor]:
    for part in one.parts:
        part.result().precede()
    return one.name, one.target


def _slices(source: Tensor, buffer_bytes: int) -> Iterator[slice]:
    """Cut a tensor into runs of rows that fit into a buffer."""
    n = max(1, buffer_bytes // max(1, _row_bytes(source)))
    for first in range(0, len(source), n):
        yield slice(first, first + n)


def _row_bytes(tensor: Tensor) -> int:
    return tensor[0].numel() * tensor.element_size() if len(tensor) else 0
