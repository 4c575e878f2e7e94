"""Documents packed side by side into rows of tokens, and rows into batches.

Documents that share a row do not see each other: attention is masked by their numbers. Rotary
positions need no reset, since only distances matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sirocco.tokenizer.base import Tokenizer
from sirocco.tokenizer.chat import encode_messages
from sirocco.training.corpus import Document
from sirocco.types import Message

_Item = TypeVar("_Item")

IGNORED = -100
"""The target of a token that the loss leaves out; cross-entropy's own default."""

N_AT_HAND = 64
"""Pieces of documents to choose the next one of a row from."""


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
        ids = [*_one(tokenizer.bos_id), *tokenizer.encode(document.text), *_one(tokenizer.eos_id)]
        return Encoded(np.asarray(ids, dtype=np.int32), np.ones(len(ids), dtype=np.bool_))
    *before, answer = document.messages
    ids = encode_messages(tokenizer, before, template)
    answers = [*_earlier_answers(document.messages, tokenizer, template), slice(len(ids), None)]
    ids += [*tokenizer.encode(answer.content.strip()), *_one(tokenizer.eos_id)]
    learnt = np.full(len(ids), loss == "all", dtype=np.bool_)
    for span in answers:
        learnt[span] = True
    return Encoded(np.asarray(ids, dtype=np.int32), learnt)


def _earlier_answers(
    messages: Sequence[Message], tokenizer: Tokenizer, template: str
) -> Iterator[slice]:
    """Where the assistant's answers before the last one stand, each with the EOS behind it."""
    for i, message in enumerate(messages[:-1]):
        if message.role == "assistant":
            start = len(encode_messages(tokenizer, messages[:i], template))
            n_tokens = len(tokenizer.encode(message.content)) + len(_one(tokenizer.eos_id))
            yield slice(start, start + n_tokens)


def _one(token_id: int | None) -> list[int]:
    return [] if token_id is None else [token_id]


def repeated(documents: Sequence[_Item], repeat: float, rng: np.random.Generator) -> list[_Item]:
    """Every document ⌊repeat⌋ times, and a random share of them once more."""
    whole = int(repeat)
    n_extra = round((repeat - whole) * len(documents))
    extra = rng.permutation(len(documents))[:n_extra]
    return [*documents] * whole + [documents[i] for i in extra]


def batches(
    encoded: Sequence[Encoded], *, seq_len: int, batch_size: int, steps: int, seed: int
) -> Iterator[Batch]:
    """Pack `steps` batches from endless passes, each in an order of its own, given by the seed.

    Documents stay whole where they fit a row: an answer without its question teaches a model
    to make things up.
    """
    rows = _rows(_pieces(encoded, seq_len, seed), seq_len)
    for _ in range(steps):
        yield _collate([next(rows) for _ in range(batch_size)])


def _pieces(encoded: Sequence[Encoded], seq_len: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """Documents without end, as [3, ≤ seq_len + 1]: token ids, learnt, document number.

    Of one that is longer, the last token of a piece is the first of the next.
    """
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        for index in rng.permutation(len(encoded)):
            item = encoded[index]
            for start in range(0, max(1, len(item.token_ids) - 1), seq_len):
                number += 1
                span = slice(start, start + seq_len + 1)
                token_ids, learnt = item.token_ids[span], item.learnt[span]
                yield np.stack([token_ids, learnt, np.full_like(token_ids, number)])


def _rows(pieces: Iterator[NDArray[np.int32]], seq_len: int) -> Iterator[NDArray[np.int32]]:
    """Fill rows of [3, seq_len + 1] with the longest pieces at hand that still fit.

    What stays empty is document 0, of which nothing is learnt.
    """
    at_hand = [next(pieces) for _ in range(N_AT_HAND)]
    while True:
        row = np.zeros((3, seq_len + 1), dtype=np.int32)
        used = 0
        while fitting := [i for i, p in enumerate(at_hand) if used + p.shape[1] <= seq_len + 1]:
            # The oldest piece opens a row, so that none waits for ever.
            chosen = max(fitting, key=lambda i: at_hand[i].shape[1]) if used else fitting[0]
            piece = at_hand.pop(chosen)
            row[:, used : used + piece.shape[1]] = piece
            used += piece.shape[1]
            at_hand.append(next(pieces))
        yield row


def _collate(rows: list[NDArray[np.int32]]) -> Batch:
    columns = torch.from_numpy(np.stack(rows, axis=1)).long()  # [3, B, S + 1]
    token_ids, learnt, documents = columns
    same_document = documents[:, 1:] == documents[:, :-1]
    wanted = learnt[:, 1:].bool() & same_document
    targets = torch.where(wanted, token_ids[:, 1:], IGNORED)
    return Batch(token_ids[:, :-1], targets, documents[:, :-1])
