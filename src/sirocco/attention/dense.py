"""Attention as its definition, written to be read; every faster backend is judged by it.

It knows one whole sequence and no cache. It is built in the order in which attention is
usually explained: a scaled dot product; heads, which are many of them side by side; groups,
which let several query heads share one key/value head; a causal mask, narrowed by a window.
The learned projections that make queries, keys and values are in `model/layers.py`; the
layers that are stacked on top of each other are in `model/transformer.py`.
"""

import math

import torch
from torch import Tensor


def dense_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None) -> Tensor:
    """Causal attention over one whole sequence: O(S²) memory, any device.

    Query head h reads KV head h // group_size, so MHA (K = H), GQA (1 < K < H) and
    MQA (K = 1) differ in K alone.

    Args:
        q: [S, H, D], already rotated.  k, v: [S, K, D], same dtype and device; K divides H.
        window: the query at i sees the `window` keys that end at i, itself included;
            None sees all of them.

    Returns: [S, H, D] in q's dtype; scores and softmax are computed in float32.
    Raises: ValueError if the shapes disagree, K does not divide H, or window < 1.
    Source: Vaswani 2017 §3.2 (scaled dot product, heads); Ainslie 2023 §2.2 (groups);
        Jiang 2023 §2 (window).
    """
    _check_shapes(q, k, v, window)
    group_size = q.shape[1] // k.shape[1]
    keys = k.repeat_interleave(group_size, dim=1)  # [S, H, D]: every query head gets its own view
    values = v.repeat_interleave(group_size, dim=1)
    visible = causal_mask(q.shape[0], window, device=q.device)
    heads = [
        scaled_dot_product(q[:, h], keys[:, h], values[:, h], visible) for h in range(q.shape[1])
    ]
    return torch.stack(heads, dim=1)


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """One head: each query takes the mean of the values, weighted by how well their keys match.

    Dot products of D random unit-variance numbers have variance D; dividing by √D keeps the
    softmax from collapsing onto one key.

    Args:
        q, k, v: [S, D].
        visible: [S, S] bool; row i says which keys the query at i may see.

    Returns: [S, D] in q's dtype.
    Source: Vaswani 2017 §3.2.1, softmax(Q Kᵀ / √D) V.
    """
    return (attention_weights(q, k, visible) @ v.float()).to(q.dtype)


def attention_weights(q: Tensor, k: Tensor, visible: Tensor) -> Tensor:
    """How much each query takes of each key's value: every row adds up to 1.

    Args:
        q: [R, D].  k: [S, D].
        visible: [R, S] bool; each row has at least one key that its query may see.

    Returns: [R, S] float32; exactly 0 where a key may not be seen.
    """
    scores = q.float() @ k.float().T / math.sqrt(q.shape[-1])  # [R, S]
    return torch.softmax(scores.masked_fill(~visible, -torch.inf), dim=-1)


def causal_mask(seq_len: int, window: int | None, *, device: torch.device | None = None) -> Tensor:
    """Which keys each query may see: itself and those before it, at most `window` of them.

    For seq_len 5 and window 3 (rows are queries, columns keys, x is visible):

        x . . . .
        x x . . .
        x x x . .
        . x x x .
        . . x x x

    Returns: [seq_len, seq_len] bool.
    """
    query = torch.arange(seq_len, device=device)[:, None]
    key = torch.arange(seq_len, device=device)[None, :]
    visible = key <= query
    if window is not None:
        visible &= key > query - window
    return visible


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> None:
    if q.dim() != 3 or k.shape != v.shape or k.dim() != 3:
        raise ValueError(
            f"q, k, v must be [S, H, D], [S, K, D], [S, K, D]; got "
            f"{list(q.shape)}, {list(k.shape)}, {list(v.shape)}"
        )
    if q.shape[0] != k.shape[0] or q.shape[2] != k.shape[2] or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"q {list(q.shape)} and k {list(k.shape)} must agree in S and D, "
            f"and k's heads must divide q's"
        )
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
