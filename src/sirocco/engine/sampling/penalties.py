"""What a request changes in its logits before a token is chosen: penalties and biases.

Only the tokens concerned are touched, those of all rows at once. Each is computed for itself,
in float64, so it does not matter which others are computed beside it. Nothing becomes infinite:
what does not fit into float32 counts as the last number that does.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Run

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sirocco.engine.sampling.token_counts import TokenCounts
from sirocco.types import SamplingParams

_HIGHEST = torch.finfo(torch.float32).max


def wants_penalties(sampling: SamplingParams) -> bool:
    """Say whether a request's choice depends on the tokens before it."""
    return bool(
        sampling.repetition_penalty != 1.0
        or sampling.frequency_penalty
        or sampling.presence_penalty
    )


def penalise(
    scores: Tensor, rows: Run[int], samplings: Run[SamplingParams], counts: Run[TokenCounts]
) -> None:
    """Make tokens less likely that were there before.

    A repetition penalty concerns every token of prompt and output (Keskar 2019 §4.1); what
    frequency and presence cost is subtracted after it, and concerns those of the output.

    Args:
        scores: [B, V] float32, changed in place.
        rows, samplings, counts: the rows concerned, one of each per row.
    """
    lengths = [len(of_one) for of_one in counts]
    at = _places(scores, rows, lengths, np.concatenate([of_one.ids for of_one in counts]))
    n_times = np.concatenate([of_one.n_in_output for of_one in counts])
    frequency = np.repeat([s.frequency_penalty for s in samplings], lengths)
    presence = np.repeat([s.presence_penalty for s in samplings], lengths)
    cost = _tensor(frequency * n_times + presence * (n_times > 0), scores.device)
    repetition = _tensor(
        np.repeat([float(s.repetition_penalty) for s in samplings], lengths), scores.device
    )
    before = _take(scores, at)
    after = torch.where(before > 0, before / repetition, before * repetition) - cost
    _put(scores, at, after)


def add_bias(scores: Tensor, rows: Run[int], biases: Run[Mapping[int, float]]) -> None:
    """Add each row's biases, one per token id: [B, V] float32, changed in place."""
    token_ids = np.array([token_id for bias in biases for token_id in bias], dtype=np.int64)
    at = _places(scores, rows, [len(bias) for bias in biases], token_ids)
    added = np.array([value for bias in biases for value in bias.values()], dtype=np.float64)
    _put(scores, at, _take(scores, at) + _tensor(added, scores.device))


def _places(
    scores: Tensor, rows: Run[int], lengths: Run[int], token_ids: NDArray[np.int64]
) -> Tensor:
    """Find where in the whole of `scores` these tokens of these rows lie; no two are the same."""
    first = np.repeat(np.array(rows, dtype=np.int64) * scores.shape[1], lengths)
    return _tensor(first + token_ids, scores.device)


def _take(scores: Tensor, at: Tensor) -> Tensor:
    return scores.view(-1).index_select(0, at).double()


def _put(scores: Tensor, at: Tensor, values: Tensor) -> None:
    scores.view(-1).index_copy_(0, at, values.clamp_(-_HIGHEST, _HIGHEST).float())


def _tensor(numbers: NDArray[np.int64] | NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(numbers).to(device)
