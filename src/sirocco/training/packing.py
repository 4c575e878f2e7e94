"""Documents as one long row of tokens, cut into batches.

Rows are packed without padding. Documents that share a row do not see each other: attention
is masked by their numbers. Rotary positions need no reset, since only distances matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.chat import encode_messages
from sirocco.training.corpus import Document

IGNORED = -100
"""The target of a token that the loss leaves out; cross-entropy's own default."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One document's tokens, and which of them are to be learnt."""

    token_ids: NDArray[np.int32]  # [S]
    learnt: NDArray[np.bool_]  # [S]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows.

    Attributes:
        token_ids, targets: [B, S] int64; a target is the next token, or IGNORED.
        documents: [B, S] int32; tokens with the same number see each other.
    """

    token_ids: Tensor
    targets: Tensor
    documents: Tensor

    def to(self, device: str) -> "Batch":
        """Move the rows to another device."""
        return Batch(*(x.to(device) for x in (self.token_ids, self.targets, self.documents)))


def encode(
    document: Document, tokenizer: Tokenizer, template: str, loss: Literal["all", "answers"]
) -> Encoded:
    """Tokens of one document, with BOS and EOS; conversations in the template that serves them."""
    if document.text is not None:
        ids = [*_one(tokenizer.bos_id), *tokenizer.encode(document.text)]
        n_prompt = 0
    else:
        *prompt, answer = document.messages
        ids = encode_messages(tokenizer, prompt, template)
        n_prompt = len(ids)
        ids += tokenizer.encode(answer.content.strip())
    ids += _one(tokenizer.eos_id)
    learnt = np.ones(len(ids), dtype=np.bool_)
    if loss == "answers":
        learnt[:n_prompt] = False
    return Encoded(np.asarray(ids, dtype=np.int32), learnt)


def _one(token_id: int | None) -> list[int]:
    return [] if token_id is None else [token_id]


def repeated(encoded: Sequence[Encoded], repeat: float, rng: np.random.Generator) -> list[Encoded]:
    """Every document ⌊repeat⌋ times, and a random share of them once more."""
    whole = int(repeat)
    n_extra = round((repeat - whole) * len(encoded))
    extra = rng.permutation(len(encoded))[:n_extra]
    return [*encoded] * whole + [encoded[i] for i in extra]


def batches(
    encoded: Sequence[Encoded], *, seq_len: int, batch_size: int, steps: int, seed: int
) -> Iterator[Batch]:
    """Cut `steps` batches from endless passes, each in an order of its own, given by the seed."""
    rows = _rows(encoded, seq_len, seed)
    for _ in range(steps):
        yield _collate([next(rows) for _ in range(batch_size)])


def _rows(encoded: Sequence[Encoded], seq_len: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """Rows of [3, seq_len + 1]: token ids, learnt, document number."""
    rng = np.random.default_rng(seed)
    buffer = np.zeros((3, 0), dtype=np.int32)
    number = 0
    while True:
        for index in rng.permutation(len(encoded)):
            item = encoded[index]
            number += 1
            columns = np.stack([item.token_ids, item.learnt, np.full_like(item.token_ids, number)])
            buffer = np.concatenate([buffer, columns], axis=1)
            while buffer.shape[1] > seq_len:
                yield buffer[:, : seq_len + 1]
                buffer = buffer[:, seq_len:]  # the last token is the next row's first


def _collate(rows: list[NDArray[np.int32]]) -> Batch:
    columns = torch.from_numpy(np.stack(rows, axis=1)).long()  # [3, B, S + 1]
    token_ids, learnt, documents = columns
    same_document = documents[:, 1:] == documents[:, :-1]
    wanted = learnt[:, 1:].bool() & same_document
    targets = torch.where(wanted, token_ids[:, 1:], IGNORED)
    return Batch(token_ids[:, :-1], targets, documents[:, :-1])
