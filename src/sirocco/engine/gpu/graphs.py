"""Work that is recorded once and replayed: CUDA graphs, or plain calls where there is no GPU."""

from collections.abc import Callable
from typing import Protocol

import torch

Work = Callable[[], None]
"""It reads and writes tensors that stay where they are, and waits for nothing."""


class Recorder(Protocol):
    """Makes a work that is cheap to start of one that is not."""

    def record(self, work: Work) -> Work:
        """Return what has the effect of `work` on the tensors that it was recorded with."""
        ...


class PlainCalls:
    """Records nothing: each start is the work itself."""

    def record(self, work: Work) -> Work:
        """See `Recorder`."""
        return work


class CudaGraphs:
    """Records into CUDA graphs that share their memory, since one runs at a time.

    A work runs before it is recorded, as libraries choose their kernels in their first call.
    Whoever records it must see to it that this run does no harm.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        # One for all: cuBLAS keeps a work space of 32 MiB for each stream that it has seen.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, work: Work) -> Work:
        """See `Recorder`."""
        stream = self._stream
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder:
    """Give the recorder of a device."""
    return CudaGraphs(device) if device.type == "cuda" else PlainCalls()
