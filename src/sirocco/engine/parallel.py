"""Steps of one engine on several ranks: the first decides, and all compute.

Rank 0 has the engine. Before each forward pass it tells the others what it runs; they own the
same blocks, so the same integers say where keys and values are. Each rank loads its own part.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Run
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from sirocco.attention.base import Span
from sirocco.engine.config import EngineConfig
from sirocco.engine.process.followers import MEETING, Followers
from sirocco.engine.process.messages import Forward, ForwardSpan, Join, Start
from sirocco.engine.runner import ModelRunner
from sirocco.errors import BackendUnavailable, ConfigError
from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS, WeightFormat
from sirocco.model.parallel import Part, config_of_rank
from sirocco.model.transformer import Transformer
from sirocco.model.weights import load_model
from sirocco.native import is_built, set_n_threads


class ParallelRunner(ModelRunner):
    """A runner of one part, which tells the other ranks of every forward pass.

    Args:
        tell: called with each pass before it runs; on the other ranks nothing.
        on_fault: called with a sentence when a pass fails here: the others may have come through
            it, or wait for this one, so their next sums would be of different passes.
    """

    def __init__(
        self, model: Transformer, config: EngineConfig,
        tell: Callable[[Forward], None] = lambda _: None,
        on_fault: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(model, config)
        self._tell, self._on_fault = tell, on_fault
        n_ranks = dist.get_world_size()
        self.shape = replace(
            model.config, n_heads=model.config.n_heads * n_ranks,
            n_kv_heads=model.config.n_kv_heads * n_ranks,
            hidden_dim=model.config.hidden_dim * n_ranks,
        )  # fmt: skip
        self._agree_on_blocks()

    def forward(self, token_ids: Run[int], spans: Run[Span], rows: Tensor | None = None) -> Tensor:
        """See `ModelRunner.forward`."""
        wanted = None if rows is None else rows.tolist()
        self._tell(Forward(list(token_ids), [_written(span) for span in spans], wanted))
        try:
            return super().forward(token_ids, spans, rows)
        except Exception as fault:
            self._on_fault(f"a pass failed on one of the ranks: {fault!r}")
            raise

    def follow(self, told: Iterable[Forward]) -> None:
        """Compute what rank 0 runs, for as long as it says so. This is what other ranks do."""
        for forward in told:
            rows = None if forward.rows is None else torch.tensor(forward.rows, dtype=torch.int64)
            self.forward(forward.token_ids, [_read(span) for span in forward.spans], rows)

    def _agree_on_blocks(self) -> None:
        """Take as many blocks as the rank with the least memory has room for."""
        least = torch.tensor([self.n_blocks], device=self.model.device)
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
        self.n_blocks = int(least)


def check_ranks(shape: ModelConfig, n_ranks: int, device: torch.device) -> None:
    """Refuse what cannot be shared out among so many. Raises: ConfigError; BackendUnavailable."""
    config_of_rank(shape, n_ranks)
    if device.type == "cuda" and torch.cuda.device_count() < n_ranks:
        raise BackendUnavailable(
            f"gpus must be at most {torch.cuda.device_count()}, which torch finds here; "
            f"got {n_ranks}"
        )
    if dist.is_initialized():
        raise ConfigError("a process can have one model on several GPUs, and this one has one")


@dataclass(frozen=True, slots=True)
class Ranks:
    """What rank 0 shares its work with.

    Attributes:
        n_ranks: itself included.
        device: of rank 0.
        on_loss: called with a sentence when the ranks can go on together no more.
    """

    n_ranks: int
    device: torch.device
    followers: Followers
    on_loss: Callable[[str], None]

    @classmethod
    def started(
        cls, start: Start, n_ranks: int, device: torch.device, on_loss: Callable[[str], None]
    ) -> "Ranks":
        """Start the other ranks and meet them. Raises: SetupError."""
        folder = Path(tempfile.mkdtemp(prefix="sirocco-ranks-"))  # nobody else may enter it
        followers = Followers(start, n_ranks, folder, on_loss=on_loss)
        mine = _meet(str(folder / MEETING), 0, n_ranks, device)
        return cls(n_ranks, mine, followers, on_loss)

    def load(
        self, folder: Path, form: WeightFormat, on_progress: Callable[[int, int], None] | None
    ) -> Transformer:
        """Load rank 0's part."""
        return load_part(folder, form, self.device, Part(0, self.n_ranks), on_progress)

    def runner(self, model: Transformer, config: EngineConfig) -> ParallelRunner:
        """Make rank 0's runner."""
        return ParallelRunner(model, config, self.followers.tell, self.on_loss)


def follow(join: Join, told: Iterable[Forward]) -> None:
    """Be a rank other than the first: meet the others, load a part, compute what is told."""
    from sirocco.engine.loading import config_for  # noqa: PLC0415 - it begins with the first rank

    start = join.start
    if start.threads is not None and is_built():
        set_n_threads(start.threads)
    if start.device == "cpu":
        torch.set_num_threads(1)  # its ranks share the processors
    device = _meet(join.meeting, join.rank, join.n_ranks, torch.device(start.device))
    part = Part(join.rank, join.n_ranks)
    model = load_part(Path(start.folder), FORMATS[start.weights], device, part, None)
    config = config_for(model, start.config, lambda _: None)
    ParallelRunner(model, config).follow(told)


def load_part(
    folder: Path, form: WeightFormat, device: torch.device, part: Part,
    on_progress: Callable[[int, int], None] | None,
) -> Transformer:  # fmt: skip
    """Load one rank's part to its device."""
    model = load_model(folder, device=device, weights=form, part=part, on_progress=on_progress)
    if device.type == "cuda":
        model.fuse()
    return model


def _meet(meeting: str, rank: int, n_ranks: int, device: torch.device) -> torch.device:
    """Join the other ranks; return this one's device."""
    # They are all on this machine, so nothing of them listens where others could come.
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(variable, loopback)
    store = dist.FileStore(meeting, n_ranks)  # type: ignore[attr-defined]
    if device.type != "cuda":
        dist.init_process_group("gloo", store=store, rank=rank, world_size=n_ranks)
        return device
    mine = torch.device("cuda", rank)
    torch.cuda.set_device(mine)
    dist.init_process_group("nccl", store=store, rank=rank, world_size=n_ranks, device_id=mine)
    return mine


def _written(span: Span) -> ForwardSpan:
    return ForwardSpan(span.first_position, span.n_tokens, list(span.block_ids), span.n_reclaimed)


def _read(span: ForwardSpan) -> Span:
    return Span(span.first_position, span.n_tokens, span.block_ids, span.n_reclaimed)
