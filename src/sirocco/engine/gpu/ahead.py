"""Steps of decode that are under way while the host still looks at the one before.

The device knows each sequence's last token, position and blocks (`rows.py`), so the next step can
start before the host has read what the last one chose. What the host learns too late, that an
answer ended, costs a row that is computed for nothing: its key and value go to a slot of its own
after its last token, and whoever gets that block next writes it before reading it, since the
device does one step after the other.
"""

from collections.abc import Sequence as Run
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sirocco.attention.triton_paged import TritonPagedBackend, TritonPlan
from sirocco.engine.gpu.graphs import Recorder, Work, recorder_for
from sirocco.engine.gpu.rows import DeviceRows
from sirocco.engine.gpu.sampling import (
    NOTHING,
    Kind,
    Sampling,
    choose_tokens,
    is_adjusted,
    is_simple,
    kind_of,
)
from sirocco.engine.runner import ModelRunner
from sirocco.engine.sampling.sampler import NO_CHOICE, Choice
from sirocco.engine.scheduling.scheduler import StepPlan
from sirocco.engine.sequence import SequenceState
from sirocco.model.transformer import Transformer

_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Rows that steps are recorded with; a step takes the least that is enough."""

_MOST_SPLIT_PROGRAMS = 32
"""Programs that share a token's splits; beyond that each has several."""


@dataclass(slots=True)
class Flight:
    """A step that is under way."""

    plan: StepPlan
    _token_ids: Tensor
    _landed: torch.cuda.Event | None

    def choices(self) -> tuple[StepPlan, list[list[Choice]]]:
        """Wait for it; give its sequences that still run, and what was chosen for each."""
        if self._landed is not None:
            self._landed.synchronize()
        plan = StepPlan(tuple(c for c in self.plan.chunks if _runs(c.seq.state)))
        of_all = zip(self.plan.chunks, self._token_ids.tolist(), strict=False)
        kept = [
            [NO_CHOICE if token_id == NOTHING else Choice(token_id)]
            for chunk, token_id in of_all if _runs(chunk.seq.state)
        ]  # fmt: skip
        return plan, kept


@dataclass(slots=True)
class _Step:
    """A step of so many rows: what it reads, what it chose, and how to start it."""

    rows: Tensor
    token_ids: Tensor
    start: Work = field(default=lambda: None)


class AheadDecoder:
    """Runs steps of pure decode by rows that live on the device.

    Args:
        max_running, max_seq_len: sequences at once, and tokens of one at most.
    """

    def __init__(
        self, model: Transformer, backend: TritonPagedBackend, *, block_size: int,
        max_running: int, max_seq_len: int, recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._model, self._backend, self._block_size = model, backend, block_size
        self._max_running = max_running
        self._n_partials = backend.most_splits(max_seq_len)
        self._rows = DeviceRows(
            max_running, n_table=-(-max_seq_len // block_size) + 1,
            vocab_size=model.config.vocab_size, device=model.device,
        )  # fmt: skip
        self._recorder = recorder or recorder_for(model.device)
        self._steps: dict[tuple[int, Kind, bool], _Step] = {}
        backend.reserve(self._size(max_running), self._n_partials)

    @classmethod
    def of(cls, runner: ModelRunner, recorder: Recorder | None = None) -> "AheadDecoder":
        """Make one over a runner's model, cache and limits."""
        config, shape, backend = runner.config, runner.model.config, runner.backend
        assert isinstance(backend, TritonPagedBackend), "only its plans live on the device"
        return cls(
            runner.model, backend, block_size=config.block_size,
            max_running=config.max_running, max_seq_len=config.seq_len_limit(shape),
            recorder=recorder,
        )  # fmt: skip

    @staticmethod
    def takes(plan: StepPlan) -> bool:
        """Tell whether a plan is pure decode of sequences whose tokens can be chosen here."""
        return all(
            chunk.n_tokens == 1 and chunk.samples and is_simple(chunk.seq) for chunk in plan.chunks
        )

    @torch.inference_mode()
    def launch(self, plan: StepPlan, after: Flight | None = None) -> Flight:
        """Start a step.

        Args:
            plan: one that it `takes`.
            after: the step before, if the host has not seen yet what it chose.
        """
        seqs = [chunk.seq for chunk in plan.chunks]
        if after is None:
            self._rows.keep(seqs)
        rows = self._rows.prepare(seqs, n_unknown=0 if after is None else 1)
        size = self._size(len(rows))
        kind = max((kind_of(seq) for seq in seqs), key=lambda kind: kind.value)
        step = self._step(size, kind, adjusts=any(map(is_adjusted, seqs)))
        self._fill(step.rows, [*rows, *[self._rows.nobody] * (size - len(rows))])
        step.start()
        return self._flight(plan, step)

    def _size(self, n_rows: int) -> int:
        return next((size for size in _SIZES if size >= n_rows), self._max_running)

    def _step(self, size: int, kind: Kind, *, adjusts: bool) -> _Step:
        """Find the recorded step, or record it now."""
        step = self._steps.get((size, kind, adjusts))
        if step is None:
            device = self._model.device
            nobody = torch.full((size,), self._rows.nobody, dtype=torch.int64, device=device)
            step = _Step(nobody, torch.empty_like(nobody))
            self._steps[size, kind, adjusts] = step
            step.start = self._recorder.record(lambda: self._run(step, kind, adjusts=adjusts))
        return step

    def _run(self, step: _Step, kind: Kind, *, adjusts: bool) -> None:
        """Advance the step's rows by a token each. This is what is recorded.

        Args:
            adjusts: some of the rows have penalties or biases.
        """
        rows, state = step.rows, self._rows
        token_ids, positions = state.token_ids[rows], state.positions[rows]
        attend = self._backend.bind(self._plan(rows, positions))
        logits = self._model(token_ids, positions, attend=attend)
        sampling = Sampling(
            state.sampling.seeds[rows], state.sampling.temperatures[rows],
            state.sampling.limits[rows],
        )  # fmt: skip
        adjustments = state.adjustments.of(rows) if adjusts else None
        chosen = choose_tokens(logits, sampling, positions + 1, kind, adjustments)
        step.token_ids.copy_(chosen)
        if adjusts:
            state.count(rows, chosen.clamp_min(0))
        state.token_ids[rows] = chosen.clamp_min(0)
        state.positions[rows] = torch.where(rows == state.nobody, 0, positions + 1)

    def _plan(self, rows: Tensor, positions: Tensor) -> TritonPlan:
        """Say where the rows' keys and values are, with what the device knows alone."""
        is_real = (rows != self._rows.nobody).int()
        index = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
        nothing = torch.zeros_like(index)
        blocks = [
            index, positions.int(), is_real, rows.int(), index, nothing, nothing, nothing
        ]  # fmt: skip
        block_ids = self._rows.tables[rows, positions // self._block_size]
        slots = block_ids * self._block_size + (positions % self._block_size).int()
        return TritonPlan(
            torch.stack(blocks, dim=1), self._rows.tables,
            torch.where(is_real == 1, slots, -1), decodes=True,
            n_split_programs=min(self._n_partials, _MOST_SPLIT_PROGRAMS),
            n_partials=self._backend.n_partials,
        )  # fmt: skip

    def _fill(self, rows: Tensor, numbers: Run[int]) -> None:
        host = torch.tensor(numbers)
        rows.copy_(host.pin_memory() if rows.is_cuda else host, non_blocking=True)

    def _flight(self, plan: StepPlan, step: _Step) -> Flight:
        if not step.token_ids.is_cuda:
            return Flight(plan, step.token_ids.clone(), None)
        host = torch.empty(step.token_ids.shape, dtype=torch.int64, pin_memory=True)
        host.copy_(step.token_ids, non_blocking=True)
        landed = torch.cuda.Event()  # type: ignore[no-untyped-call]
        landed.record()
        return Flight(plan, host, landed)


def _runs(state: SequenceState) -> bool:
    return state is SequenceState.RUNNING
