"""Sequences that wait for their turn: each account's oldest first."""

from bisect import insort
from collections.abc import Iterator

from sirocco.engine.sequence import Sequence


class WaitingQueue:
    """A queue for each account. Which account is next is the scheduler's business."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Sequence]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Sequence]:
        for queue in self._queues.values():
            yield from queue

    @property
    def heads(self) -> list[Sequence]:
        """The oldest sequence of each account."""
        return [queue[0] for queue in self._queues.values()]

    def add(self, seq: Sequence) -> None:
        """Let a sequence wait in the order of its arrival; one that was preempted is in front."""
        insort(self._queues.setdefault(seq.account, []), seq, key=_arrival)

    def remove(self, seq: Sequence) -> None:
        """Take a sequence out, wherever it stands."""
        queue = self._queues[seq.account]
        queue.remove(seq)
        if not queue:
            del self._queues[seq.account]


def _arrival(seq: Sequence) -> tuple[int, int]:
    return seq.arrival
