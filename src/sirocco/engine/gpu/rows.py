"""What the device knows of the sequences that decode: a row for each, for as long as it runs.

A row is written when its sequence comes, and advances on the device from step to step; the host
adds the blocks that it grows into. The host keeps a mirror of what it knows to be there, so that
a sequence that went another way meanwhile (a step of prefill) is written again.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Run
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sirocco.engine.gpu.sampling import Adjustments, Sampling
from sirocco.engine.sampling.penalties import wants_penalties
from sirocco.engine.sampling.token_counts import TokenCounts
from sirocco.engine.sequence import Sequence

_NO_PENALTIES = (1.0, 0.0, 0.0)


@dataclass(slots=True)
class _Mirror:
    """What a row holds: its next position, and how many blocks of its sequence were ever there."""

    row: int
    position: int
    n_blocks: int


class DeviceRows:
    """Rows of sequences, and one more, the last, that is nobody's.

    Attributes:
        token_ids, positions: [R + 1] int64, the token that each runs next, and where it stands.
        tables: [R + 1, M] int32; block `i` of a row holds the positions from i · block_size on.
            What lies behind the window was given back, and is not looked at.
    """

    def __init__(self, n_rows: int, *, n_table: int, vocab_size: int, device: torch.device) -> None:
        self._device, self._vocab_size = device, vocab_size
        n = n_rows + 1
        self.nobody = n_rows
        self.token_ids = torch.zeros(n, dtype=torch.int64, device=device)
        self.positions = torch.zeros(n, dtype=torch.int64, device=device)
        self.tables = torch.zeros((n, n_table), dtype=torch.int32, device=device)
        self.sampling = Sampling(
            torch.zeros(n, dtype=torch.int64, device=device),
            torch.zeros(n, device=device),
            torch.ones((n, 3), dtype=torch.float64, device=device),
        )
        self.adjustments = Adjustments(
            torch.tensor(_NO_PENALTIES, dtype=torch.float64, device=device).repeat(n, 1),
            torch.zeros((n, vocab_size), dtype=torch.int32, device=device),
            torch.zeros((n, vocab_size), dtype=torch.bool, device=device),
            torch.zeros((n, vocab_size), dtype=torch.float64, device=device),
        )
        self._biased: set[int] = set()
        self._mirrors: dict[Sequence, _Mirror] = {}
        self._free = list(range(n_rows - 1, -1, -1))

    def keep(self, seqs: Iterable[Sequence]) -> None:
        """Forget all rows but those of these sequences."""
        for seq in self._mirrors.keys() - set(seqs):
            self._free.append(self._mirrors.pop(seq).row)

    def prepare(self, seqs: Run[Sequence], *, n_unknown: int) -> list[int]:
        """Bring the rows of these sequences up to date, for their next token; return the rows.

        Args:
            n_unknown: tokens at the end of each that the device alone knows: 1 where a step is
                under way, else 0.
        """
        fresh: list[Sequence] = []
        cells: list[tuple[int, int, int]] = []
        for seq in seqs:
            position = seq.n_known - 1 + n_unknown
            mirror = self._mirrors.get(seq)
            if mirror is None or mirror.position != position:
                assert not n_unknown, "its last token is on the device, and in no row"
                mirror = self._mirror(seq, position)
                fresh.append(seq)
            cells += self._new_cells(seq, mirror)
            mirror.position += 1
        self._write(fresh)
        self._write_cells(cells)
        return [self._mirrors[seq].row for seq in seqs]

    def _mirror(self, seq: Sequence, position: int) -> _Mirror:
        before = self._mirrors.get(seq)
        row = self._free.pop() if before is None else before.row
        self._mirrors[seq] = _Mirror(row, position, 0)
        return self._mirrors[seq]

    def _new_cells(self, seq: Sequence, mirror: _Mirror) -> list[tuple[int, int, int]]:
        """Say which cells of the tables are missing: row, column, block id."""
        table = seq.table
        assert table is not None, "a running sequence has a table"
        first = max(mirror.n_blocks, table.n_reclaimed)
        mirror.n_blocks = table.n_blocks_ever
        ids = table.block_ids[first - table.n_reclaimed :]
        return [(mirror.row, first + i, block_id) for i, block_id in enumerate(ids)]

    def _write(self, seqs: Run[Sequence]) -> None:
        if not seqs:
            return
        rows = [self._mirrors[seq].row for seq in seqs]
        numbers = [
            rows, [s.token_ids[-1] for s in seqs], [s.n_known - 1 for s in seqs],
            [s.seed for s in seqs],
        ]  # fmt: skip
        at, token_ids, positions, seeds = self._moved(torch.tensor(numbers))
        self.token_ids[at], self.positions[at] = token_ids, positions
        self.sampling.seeds[at] = seeds
        self.sampling.limits[at] = self._moved(
            torch.tensor([self._limits(s) for s in seqs], dtype=torch.float64)
        )
        self.sampling.temperatures[at] = self._moved(
            torch.tensor([s.sampling.temperature for s in seqs], dtype=torch.float32)
        )
        self.adjustments.penalties[at] = self._moved(
            torch.tensor([_penalties(s) for s in seqs], dtype=torch.float64)
        )
        for row, seq in zip(rows, seqs, strict=True):
            self._write_counts(row, seq)
            self._write_biases(row, seq)

    def _write_counts(self, row: int, seq: Sequence) -> None:
        """Count a sequence's tokens anew; without penalties old counts have no effect."""
        if not wants_penalties(seq.sampling):
            return
        counts = TokenCounts(seq.token_ids, seq.n_prompt_tokens)
        token_ids, n_times = self._moved(
            torch.from_numpy(np.stack([counts.ids, counts.n_in_output]))
        )
        self.adjustments.counts[row] = 0
        self.adjustments.counts[row, token_ids] = n_times.int()
        self.adjustments.is_there[row] = False
        self.adjustments.is_there[row, token_ids] = True

    def _write_biases(self, row: int, seq: Sequence) -> None:
        biases = seq.sampling.logit_bias or {}
        if row in self._biased:
            self.adjustments.biases[row] = 0.0
            self._biased.discard(row)
        if biases:
            self._biased.add(row)
            token_ids = self._moved(torch.tensor(list(biases)))
            self.adjustments.biases[row, token_ids] = self._moved(
                torch.tensor(list(biases.values()), dtype=torch.float64)
            )

    def count(self, rows: Tensor, chosen: Tensor) -> None:
        """Count tokens that were just chosen, one for each row: two [B] int64."""
        self.adjustments.counts[rows, chosen] += 1
        self.adjustments.is_there[rows, chosen] = True

    def _limits(self, seq: Sequence) -> tuple[float, float, float]:
        sampling = seq.sampling
        top_k = min(sampling.top_k or self._vocab_size, self._vocab_size)
        return top_k, sampling.top_p, sampling.min_p

    def _write_cells(self, cells: Run[tuple[int, int, int]]) -> None:
        if cells:
            rows, columns, block_ids = self._moved(torch.tensor(cells).T.contiguous())
            self.tables[rows, columns] = block_ids.int()

    def _moved(self, numbers: Tensor) -> Tensor:
        """Copy to the device without waiting for it."""
        if self._device.type == "cuda":
            numbers = numbers.pin_memory()
        return numbers.to(self._device, non_blocking=True)


def _penalties(seq: Sequence) -> tuple[float, float, float]:
    sampling = seq.sampling
    if not wants_penalties(sampling):
        return _NO_PENALTIES
    return (
        sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty
    )  # fmt: skip
