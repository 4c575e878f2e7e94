"""How large a study is: what is trained, what is timed, and how that is fitted to a machine."""

from dataclasses import dataclass

import torch

from sirocco.engine.config import free_memory_bytes
from sirocco.model.config import ModelConfig

MIB = 2**20

UP_TRAINING_SHARE = 0.05
"""Share of the steps that a pooled model learns on. Source: Ainslie 2023 §3.1."""


@dataclass(frozen=True, slots=True)
class QualitySize:
    """What is trained.

    Attributes:
        shape: of the network with multi-head attention.
        seq_len, batch_size, peak_lr: see `learning.Lesson`.
        n_seeds: each variant is trained so often, from other weights and on other rows.
        train_s: seconds that all training may take together; steps follow from it.
        max_steps: of one training at most.
        n_held_out: batches to judge by.
        window: of the network in the study of windows.
        long_seq_len, n_long_rows: length and number of the texts in that study.
    """

    shape: ModelConfig
    seq_len: int
    batch_size: int
    peak_lr: float
    n_seeds: int
    train_s: float
    max_steps: int
    n_held_out: int
    window: int
    long_seq_len: int
    n_long_rows: int

    @property
    def n_trainings(self) -> float:
        """How many times the steps of one training are done: variants, window, conversions."""
        return 6 * self.n_seeds + 5 * UP_TRAINING_SHARE

    def steps_for(self, step_s: float) -> int:
        """Count the steps of one training where a step takes this long."""
        return max(20, min(self.max_steps, int(self.train_s / self.n_trainings / step_s)))


@dataclass(frozen=True, slots=True)
class DecodeSize:
    """What is timed.

    Attributes:
        shape: of the network with multi-head attention.
        contexts: tokens of each sequence; the longest fits into the cache at least once.
        kv_cache_bytes: the memory that every variant gets.
        n_runs: steps of which a median is taken.
        window: of the network in the study of windows.
    """

    shape: ModelConfig
    contexts: tuple[int, ...]
    kv_cache_bytes: int
    n_runs: int
    window: int


@dataclass(frozen=True, slots=True)
class LabSize:
    """A whole study, by name."""

    name: str
    quality: QualitySize
    decode: DecodeSize


def quick() -> LabSize:
    """Lay out a study of a few minutes on two cores: speed as it is, quality as a sketch."""
    return LabSize(
        "quick",
        QualitySize(
            shape=_language_shape(vocab_size=512, dim=128, n_layers=2, head_dim=16, hidden_dim=256),
            seq_len=128, batch_size=8, peak_lr=4e-3, n_seeds=2, train_s=110, max_steps=2000,
            n_held_out=32, window=32, long_seq_len=512, n_long_rows=48,
        ),
        DecodeSize(
            shape=_speed_shape(n_layers=2), contexts=(1024, 4096, 16_384),
            kv_cache_bytes=_fitted(512 * MIB, 256 * MIB), n_runs=3, window=2048,
        ),
    )  # fmt: skip


def full() -> LabSize:
    """Lay out a study of about an hour on two cores, whose models learn enough to differ."""
    return LabSize(
        "full",
        QualitySize(
            shape=_language_shape(
                vocab_size=512, dim=128, n_layers=3, head_dim=16, hidden_dim=256
            ),
            seq_len=256, batch_size=4, peak_lr=3e-3, n_seeds=3, train_s=2400, max_steps=2000,
            n_held_out=48, window=32, long_seq_len=1024, n_long_rows=64,
        ),
        DecodeSize(
            shape=_speed_shape(n_layers=4), contexts=(512, 1024, 2048, 4096, 8192, 16_384, 32_768),
            kv_cache_bytes=_fitted(2048 * MIB, 1024 * MIB), n_runs=7, window=4096,
        ),
    )  # fmt: skip


def _language_shape(
    *, vocab_size: int, dim: int, n_layers: int, head_dim: int, hidden_dim: int
) -> ModelConfig:
    """Shape a network that learns on two cores, with as many heads as the one that is timed."""
    return ModelConfig(
        vocab_size=vocab_size, dim=dim, n_layers=n_layers, n_heads=16, n_kv_heads=16,
        head_dim=head_dim, hidden_dim=hidden_dim, max_seq_len=4096, tie_embeddings=True,
    )  # fmt: skip


def _speed_shape(n_layers: int) -> ModelConfig:
    """Heads of Mistral 7B's width around a narrow stream, so that a small machine sees long texts.

    A token's keys and values are 8 KiB in each layer (MHA, float16), its weights 17 million.
    """
    return ModelConfig(
        vocab_size=4096, dim=1024, n_layers=n_layers, n_heads=16, n_kv_heads=16, head_dim=128,
        hidden_dim=2816, max_seq_len=32_768, tie_embeddings=True,
    )  # fmt: skip


def _fitted(wanted: int, least: int) -> int:
    """Give a cache of the wanted size, or an eighth of the free memory if that is less."""
    return max(least, min(wanted, free_memory_bytes(torch.device("cpu")) // 8))
