"""The parts of one layer: norm, attention with its learned projections, feed-forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirocco.attention.base import Attend, Rotates
from sirocco.model.config import ModelConfig
from sirocco.model.linear import Fused, NativeLinear, add_projection, fuse, project
from sirocco.model.rope import rotate
from sirocco.native import rms_norm, serves
from sirocco.native.elementwise import swiglu
from sirocco.native.layer import LayerWeights


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
        if serves(x) and serves(self.weight):
            return rms_norm(x, self.weight, self.eps)
        if x.is_cuda:  # one kernel for what are five below
            return F.rms_norm(x, (len(self.weight),), self.weight, self.eps)
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
        self.fused: Fused | None = None

    def fuse(self) -> None:
        """Multiply with queries', keys' and values' matrices at once from now on."""
        self.fused = fuse((self.wq, self.wk, self.wv))

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend, layer: int
    ) -> Tensor:
        """x: [T, dim] → [T, H·D]; `rotation` is cosine and sine of the tokens' positions.

        The caller multiplies what comes out with `wo`, and adds it to the residual stream.
        """
        n_tokens = x.shape[0]
        q, k, v = (
            y.view(n_tokens, -1, self.head_dim)
            for y in project(x, (self.wq, self.wk, self.wv), self.fused)
        )
        if isinstance(attend, Rotates):
            return attend.rotate_and_attend(q, k, v, rotation, layer).reshape(n_tokens, -1)
        q, k = rotate(q, *rotation), rotate(k, *rotation)  # [T, H, D], [T, K, D]
        return attend(q, k, v, layer).reshape(n_tokens, -1)


class FeedForward(nn.Module):
    """SwiGLU. Source: Shazeer 2020, W₂(silu(W₁x) ⊙ W₃x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.w2 = nn.Linear(config.hidden_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.fused: Fused | None = None

    def fuse(self) -> None:
        """Multiply with both matrices of the gate at once from now on."""
        self.fused = fuse((self.w1, self.w3))

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, dim] → [T, hidden_dim].

        The caller multiplies what comes out with `w2`, and adds it to the residual stream.
        """
        gate, value = project(x, (self.w1, self.w3), self.fused)
        return swiglu(gate, value) if serves(gate) and serves(value) else F.silu(gate) * value


class Layer(nn.Module):
    """One layer: attention, then feed-forward, each on a normed copy and added back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self._n_heads = config.n_heads

    def native_weights(self) -> LayerWeights | None:
        """Its weights for the kernel that runs whole layers; None if some are torch's own."""
        a, f = self.attention, self.feed_forward
        layers = [a.wq, a.wk, a.wv, a.wo, f.w1, f.w2, f.w3]
        matrices = [m.matrix for m in layers if isinstance(m, NativeLinear)]
        if len(matrices) < len(layers):
            return None
        return LayerWeights(
            self.attention_norm.weight,
            self.feed_forward_norm.weight,
            self.attention_norm.eps,
            self._n_heads,
            *matrices,
        )

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend, layer: int
    ) -> Tensor:
        """x: [T, dim] → [T, dim]; the memory of x may be used for it."""
        attended = self.attention(self.attention_norm(x), rotation, attend, layer)
        x = add_projection(x, attended, self.attention.wo)
        hidden = self.feed_forward(self.feed_forward_norm(x))
        return add_projection(x, hidden, self.feed_forward.w2)
