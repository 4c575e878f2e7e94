"""What the device knows of the sequences that decode: a row for each, for as long as it runs.

A row is written when its sequence comes, and advances on the device from step to step; the host
adds the blocks that it grows into. The host keeps a mirror of what it knows to be there, so that
a sequence that went another way meanwhile (a step of prefill) is written again.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Run
from dataclasses import dataclass

import torch
from torch import Tensor

from sirocco.engine.gpu.sampling import Sampling
from sirocco.engine.sequence import Sequence


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
