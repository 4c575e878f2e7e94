"""The parts of one layer: norm, attention with its learned projections, feed-forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirocco.attention.base import Attend
from sirocco.model.config import ModelConfig
from sirocco.model.rope import rotate


class RMSNorm(nn.Module):
    """Scale each vector to a root mean square of 1, then by a learned weight per channel.

    Source: Zhang & Sennrich 2019, x / √(mean(x²) + eps) · weight.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, dim], any dtype; the mean is taken in float32."""
        x32 = x.float()
        scale = torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (x32 * scale).to(x.dtype)


class Attention(nn.Module):
    """Learned projections around `attend`: every head gets its own view of each token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        q_dim, kv_dim = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.wq = nn.Linear(config.dim, q_dim, bias=False)
        self.wk = nn.Linear(config.dim, kv_dim, bias=False)
        self.wv = nn.Linear(config.dim, kv_dim, bias=False)
        self.wo = nn.Linear(q_dim, config.dim, bias=False)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend, layer: int
    ) -> Tensor:
        """x: [T, dim] → [T, dim]; `rotation` is cosine and sine of the tokens' positions."""
        n_tokens = x.shape[0]
        q = rotate(self.wq(x).view(n_tokens, -1, self.head_dim), *rotation)  # [T, H, D]
        k = rotate(self.wk(x).view(n_tokens, -1, self.head_dim), *rotation)  # [T, K, D]
        v = self.wv(x).view(n_tokens, -1, self.head_dim)
        out: Tensor = self.wo(attend(q, k, v, layer).reshape(n_tokens, -1))
        return out


class FeedForward(nn.Module):
    """SwiGLU. Source: Shazeer 2020, W₂(silu(W₁x) ⊙ W₃x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.w2 = nn.Linear(config.hidden_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, dim] → [T, dim]."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class Layer(nn.Module):
    """One layer: attention, then feed-forward, each on a normed copy and added back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend, layer: int
    ) -> Tensor:
        """x: [T, dim] → [T, dim]."""
        x = x + self.attention(self.attention_norm(x), rotation, attend, layer)
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out
