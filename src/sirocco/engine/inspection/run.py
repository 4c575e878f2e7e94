"""One inspection: the network's work on a text, by the definition, a few tokens at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sirocco.attention.dense import attention_weights, causal_mask
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.sampling.ranking import top
from sirocco.errors import ModelFault
from sirocco.model.transformer import Transformer
from sirocco.types import TokenLogprob


@dataclass(frozen=True, slots=True)
class InspectedRows:
    """What a few neighbouring tokens look at, and what the model expects after each.

    Attributes:
        attention: [planes, rows, S] of probabilities in the request's encoding, row by row.
        following: for each row, the token that follows it in the text and the likeliest ones.
            After the text's last token the first is what the model finds likeliest.
    """

    attention: bytes
    following: tuple[TokenLogprob, ...]


class InspectionRun:
    """Runs a text through the network with attention as `attention/dense.py` defines it.

    Queries are taken in pieces, so that a piece's time is bounded; keys and values of earlier
    pieces are kept here, not in the engine's cache, of which nothing is taken.

    Args:
        model: the one that serves; its weights are used as they are.
    """

    def __init__(self, model: Transformer, request: InspectionRequest) -> None:
        shape, n_tokens = model.config, len(request.token_ids)
        self._model, self._request = model, request
        self._token_ids = torch.tensor(request.token_ids, device=model.device)
        self._visible = causal_mask(n_tokens, shape.window, device=model.device)
        kept = (shape.n_layers, n_tokens, shape.n_kv_heads, shape.head_dim)
        self._keys = torch.zeros(kept, dtype=model.dtype, device=model.device)
        self._values = torch.zeros_like(self._keys)
        self._planes: list[Tensor] = []
        self.n_done = 0

    @property
    def n_left(self) -> int:
        """Tokens still to be run."""
        return len(self._token_ids) - self.n_done

    @torch.inference_mode()
    def advance(self, n_rows: int) -> InspectedRows:
        """Run the next tokens, at most `n_rows`. Raises: ModelFault."""
        first, last = self.n_done, min(self.n_done + n_rows, len(self._token_ids))
        self._planes = []
        logits: Tensor = self._model(
            self._token_ids[first:last],
            torch.arange(first, last, device=self._model.device),
            attend=self._attend,
        )
        self.n_done = last
        if not bool(logits.isfinite().all()):
            raise ModelFault("the model's logits are not finite numbers")
        return InspectedRows(self._written(), self._following(logits, first))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
        """Attend over all tokens so far, head by head, and keep the maps that are wanted."""
        first, last = self.n_done, self.n_done + len(q)
        self._keys[layer, first:last], self._values[layer, first:last] = k, v
        group_size = q.shape[1] // k.shape[1]
        attended = torch.empty_like(q)
        maps = []
        for head in range(q.shape[1]):
            keys = self._keys[layer, :, head // group_size]  # [S, D], zero where not run yet
            values = self._values[layer, :, head // group_size]
            weights = attention_weights(q[:, head], keys, self._visible[first:last])
            attended[:, head] = (weights @ values.float()).to(q.dtype)
            maps.append(weights)
        if layer in self._request.layers:
            self._planes += [maps[head] for head in self._request.heads]
        return attended

    def _written(self) -> bytes:
        """Write the maps of this piece in the request's encoding."""
        if not self._planes:
            return b""
        planes = torch.stack(self._planes)  # [planes, rows, S] float32, layer by layer
        if self._request.encoding == "uint8":
            return (planes * 255).round().to(torch.uint8).cpu().numpy().tobytes()
        return planes.to(torch.float16).cpu().numpy().tobytes()

    def _following(self, logits: Tensor, first: int) -> tuple[TokenLogprob, ...]:
        logprobs = logits.log_softmax(dim=1).cpu()
        values, ids = top(logprobs, max(1, self._request.n_alternatives))
        known = self._request.token_ids[first + 1 : first + 1 + len(logprobs)]
        rows = []
        for index, (row_values, row_ids) in enumerate(
            zip(values.tolist(), ids.tolist(), strict=True)
        ):
            token_id = known[index] if index < len(known) else row_ids[0]
            likeliest = zip(row_ids, row_values, strict=True)
            told = tuple(likeliest)[: self._request.n_alternatives]
            rows.append(TokenLogprob(token_id, float(logprobs[index, token_id]), told))
        return tuple(rows)
