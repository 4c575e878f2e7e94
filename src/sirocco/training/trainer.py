"""The training loop: batches in, smaller loss out, and a state on disk that it can go on from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sirocco.attention.base import Attend
from sirocco.attention.dense import causal_mask
from sirocco.model.transformer import Transformer
from sirocco.training.muon import Muon
from sirocco.training.packing import IGNORED, Batch
from sirocco.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step did."""

    step: int
    phase: str
    loss: float
    lr: float
    tokens_per_s: float


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up to `peak_lr`, `constant_steps` there, then half a cosine to `min_lr`."""
    if step < recipe.warmup_steps:
        return recipe.peak_lr * (step + 1) / recipe.warmup_steps
    falls_from = recipe.warmup_steps + recipe.constant_steps
    done = max(0, step - falls_from) / max(1, recipe.total_steps - falls_from)
    return recipe.min_lr + (recipe.peak_lr - recipe.min_lr) * (1 + math.cos(math.pi * done)) / 2


def make_optimizers(model: Transformer, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the layers' matrices and AdamW for the rest.

    Only matrices decay. Source: Loshchilov & Hutter 2019; β₂ of Touvron 2023 §2.2.
    """
    vectors = [p for p in model.parameters() if p.dim() == 1]
    inner = [p for p in model.layers.parameters() if p.dim() > 1]
    outer = [p for p in model.parameters() if p.dim() > 1 and all(p is not q for q in inner)]
    by_muon, by_adam = (inner, outer) if recipe.optimizer == "muon" else ([], [*outer, *inner])
    groups = [
        {"params": by_adam, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=(0.9, 0.95))
    ]
    if by_muon:
        optimizers.append(Muon(by_muon, lr=recipe.peak_lr, weight_decay=recipe.weight_decay))
    return optimizers


def loss_of(model: Transformer, batch: Batch, *, reduction: Literal["mean", "sum"]) -> Tensor:
    """Cross-entropy (nats) of the targets that count, as their mean or their sum."""
    n_rows, seq_len = batch.token_ids.shape
    positions = torch.arange(seq_len, device=batch.token_ids.device).repeat(n_rows)
    targets = batch.targets.flatten()
    counted = (targets != IGNORED).nonzero().flatten()  # the head is a third of a small model
    logits = model(
        batch.token_ids.flatten(), positions,
        attend=attend_within_documents(batch.documents, model.config.window), rows=counted,
    )  # fmt: skip
    return F.cross_entropy(logits, targets[counted], reduction=reduction)


def attend_within_documents(documents: Tensor, window: int | None) -> Attend:
    """Attention over packed rows: causal, within the window, never into another document.

    Args:
        documents: [B, S]; tokens with the same number see each other.
    """
    n_rows, seq_len = documents.shape
    visible = documents[:, :, None] == documents[:, None, :]  # [B, S, S]
    visible = (visible & causal_mask(seq_len, window, device=documents.device))[:, None]

    def attend(q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:  # noqa: ARG001
        q, k, v = (x.view(n_rows, seq_len, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)
        return out.transpose(1, 2).flatten(0, 1)

    return attend


def train_step(
    model: Transformer,
    optimizers: Sequence[torch.optim.Optimizer],
    batch: Batch,
    *,
    lr: float,
    clip_norm: float,
) -> float:
    """One step down the gradient; returns the loss before it."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = lr
    loss = loss_of(model, batch, reduction="mean")
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


@torch.no_grad()
def evaluate(model: Transformer, held_out: list[Batch]) -> float:
    """Mean cross-entropy (nats per token) over the targets of the held-out batches."""
    model.eval()
    total = sum(loss_of(model, batch, reduction="sum").item() for batch in held_out)
    n_targets = sum(int((batch.targets != IGNORED).sum()) for batch in held_out)
    model.train()
    return total / max(1, n_targets)


def train_phase(
    model: Transformer,
    optimizers: Sequence[torch.optim.Optimizer],
    recipe: Recipe,
    phase_batches: Iterator[Batch],
    *,
    phase: str,
    first_step: int,
    skip: int,
    clock: Callable[[], float],
) -> Iterator[Progress]:
    """Run a phase's batches, after the first `skip` of them; yields after every step.

    Args:
        first_step: number, over all phases, of the phase's first step.
        clock: seconds; passed in so that a test can stop it.
    """
    model.train()
    for index, batch in enumerate(phase_batches):
        if index < skip:
            continue
        step, started = first_step + index, clock()
        lr = learning_rate(recipe, step)
        loss = train_step(model, optimizers, batch, lr=lr, clip_norm=recipe.clip_norm)
        elapsed_s = max(clock() - started, 1e-9)
        yield Progress(step + 1, phase, loss, lr, batch.token_ids.numel() / elapsed_s)
