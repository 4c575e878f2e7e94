"""The network of the Mistral/Llama family. It knows nothing of caches, batches or text."""

import torch
from torch import Tensor, nn

from sirocco.attention.base import Attend, Rotation, RunsLayers
from sirocco.attention.dense import dense_attention
from sirocco.model.config import ModelConfig
from sirocco.model.layers import Layer, RMSNorm
from sirocco.model.linear import Embedding, Summed, rounded_matrix
from sirocco.model.rope import inverse_frequencies, rotation
from sirocco.model.scaled import Fp8Linear, Int4Linear
from sirocco.native.layer import LayerWeights


class Transformer(nn.Module):
    """Token ids in, logits out; MHA, GQA and MQA differ in `config.n_kv_heads` alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.head = (
            None if config.tie_embeddings else nn.Linear(config.dim, config.vocab_size, bias=False)
        )
        self._frequencies = inverse_frequencies(config)  # float32, whatever the weights are
        self._native_layers: list[LayerWeights] = []

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its activations."""
        return self.norm.weight.dtype

    @property
    def rounds_weights(self) -> bool:
        """Some of its matrices are of 4 or 8 bits."""
        return rounded_matrix(self, "embedding.weight") is not None

    @property
    def weight_format(self) -> str:
        """Name of the format of its matrices, as `model/linear.py` names it."""
        if any(isinstance(m, Fp8Linear) for m in self.modules()):
            return "fp8"
        if any(isinstance(m, Int4Linear) for m in self.modules()):
            return "int4"
        matrix = rounded_matrix(self, "embedding.weight")
        return f"q{matrix.bits}" if matrix else str(self.dtype).removeprefix("torch.")

    @property
    def is_batch_invariant(self) -> bool:
        """A token's logits have the same bits whatever the step's other tokens are.

        That is so if all its matrices are multiplied by our own kernels. Attention keeps to it
        where it is ours, too.
        """
        return not any(isinstance(m, nn.Linear | nn.Embedding | Summed) for m in self.modules())

    @property
    def is_part(self) -> bool:
        """It is a part of a network, and computes only while the other ranks do."""
        return any(isinstance(m, Summed) for m in self.modules())

    def fuse(self) -> None:
        """Lay matrices that take the same activations together; it cannot be trained afterwards.

        On a GPU a larger product is nearer to what the memory can give, and one launch.
        """
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.attention.fuse()
            layer.feed_forward.fuse()

    def forward(
        self,
        token_ids: Tensor,
        positions: Tensor,
        *,
        attend: Attend | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Logits of the token after each of the step's tokens.

        Args:
            token_ids, positions: [T] int64; sequences lie end to end, without padding.
            attend: attention over the step; None takes the T tokens as one whole sequence
                and the definition in `attention/dense.py`.
            rows: [R] int64, the tokens whose logits are wanted; None wants all.

        Returns: [T or R, vocab_size] float32.
        """
        attend = attend or self._attend_densely
        self._frequencies = self._frequencies.to(token_ids.device)
        turn = rotation(positions, self._frequencies)
        x = self._through_layers(self.embedding(token_ids), turn, attend)
        return self.logits(self.norm(x if rows is None else x[rows]))

    def _through_layers(self, x: Tensor, turn: Rotation, attend: Attend) -> Tensor:
        """x: [T, dim] → [T, dim]; the memory of x may be used for it."""
        if isinstance(attend, RunsLayers) and (layers := self._layers_in_native_code()):
            attend.run_layers(layers, x, turn)
            return x
        for index, layer in enumerate(self.layers):
            x = layer(x, turn, attend, index)
        return x

    def _layers_in_native_code(self) -> list[LayerWeights]:
        """All layers for the kernel that runs them; none if some weights are torch's own."""
        if not self._native_layers:
            weights = [layer.native_weights() for layer in self.layers]  # type: ignore[operator]
            self._native_layers = [w for w in weights if w is not None]
            if len(self._native_layers) < len(weights):
                self._native_layers = []
        return self._native_layers

    def logits(self, x: Tensor) -> Tensor:
        """Scores of every token of the vocabulary: normed [R, dim] → [R, vocab_size] float32."""
        scores: Tensor = self.embedding.score(x) if self.head is None else self.head(x)
        return scores.float()

    def _attend_densely(self, q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        return dense_attention(q, k, v, window=self.config.window)


def random_weight(
    config: ModelConfig, name: str, shape: torch.Size, generator: torch.Generator
) -> Tensor:
    """Draw a parameter of a new network: std 0.02, less for what is added to the residual stream.

    Source: Radford 2019 §2.3 (1/√(2·n_layers) for residual projections).
    """
    if len(shape) == 1:
        return torch.ones(shape, device=generator.device)
    is_residual = name.endswith(("wo.weight", "w2.weight"))
    std = 0.02 / (2 * config.n_layers) ** 0.5 if is_residual else 0.02
    return torch.empty(shape, device=generator.device).normal_(0.0, std, generator=generator)
