"""Documents become rows: nothing lost, nothing learnt across a border."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sirocco.tokenizer import load_tokenizer
from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.training.bpe import train_tokenizer
from sirocco.training.corpus import Document
from sirocco.training.packing import IGNORED, Encoded, batches, encode, repeated
from sirocco.types import Message

CHAT = Document(messages=(Message("user", "hi"), Message("assistant", "yo")))


def numbered(*lengths):
    """Documents whose token ids tell which document and place they are from."""
    return [
        Encoded(np.arange(length, dtype=np.int32) + 100 * (i + 1), np.ones(length, dtype=np.bool_))
        for i, length in enumerate(lengths)
    ]


def test_a_text_is_learnt_whole_between_bos_and_eos():
    tokenizer = ByteTokenizer()

    encoded = encode(Document(text="ab"), tokenizer, "mistral-instruct", "answers")

    expected = [tokenizer.bos_id, *tokenizer.encode("ab"), tokenizer.eos_id]
    assert encoded.token_ids.tolist() == expected
    assert encoded.learnt.all()


def test_only_the_answer_of_a_conversation_is_learnt():
    tokenizer = ByteTokenizer()

    encoded = encode(CHAT, tokenizer, "mistral-instruct", "answers")

    learnt = encoded.token_ids[encoded.learnt].tolist()
    assert learnt == [*tokenizer.encode("yo"), tokenizer.eos_id]


@pytest.mark.parametrize("system", [[], [Message("system", "be kind")]], ids=["alone", "system"])
def test_every_answer_of_a_conversation_is_learnt_and_nothing_else(tmp_path, system):
    train_tokenizer(iter(["hi yo and so on"]), 300, tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path)
    turns = [Message("user", "hi"), Message("assistant", "yo"), Message("user", "and"),
             Message("assistant", "so on")]  # fmt: skip

    encoded = encode(Document(messages=(*system, *turns)), tokenizer, "breeze", "answers")

    eos = tokenizer.eos_id
    expected = [*tokenizer.encode("yo"), eos, *tokenizer.encode("so on"), eos]
    assert encoded.token_ids[encoded.learnt].tolist() == expected


def test_all_of_a_conversation_is_learnt_when_asked():
    assert encode(CHAT, ByteTokenizer(), "mistral-instruct", "all").learnt.all()


@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    seq_len=st.integers(2, 16),
    batch_size=st.integers(1, 3),
)
def test_targets_are_the_next_tokens_of_the_same_document(lengths, seq_len, batch_size):
    cut = batches(numbered(*lengths), seq_len=seq_len, batch_size=batch_size, steps=4, seed=1)

    for batch in cut:
        assert batch.token_ids.shape == (batch_size, seq_len)
        known = batch.targets != IGNORED
        assert torch.equal(batch.targets[known], batch.token_ids[known] + 1)


def test_documents_that_fit_a_row_stay_whole():
    documents = numbered(5, 3, 8, 2, 6, 4)

    for batch in batches(documents, seq_len=7, batch_size=2, steps=20, seed=7):
        for token_ids, numbers in zip(batch.token_ids, batch.documents, strict=True):
            for number in set(numbers.tolist()) - {0}:
                piece = token_ids[numbers == number].tolist()
                whole = documents[piece[0] // 100 - 1].token_ids.tolist()
                # A row's last token is a target only, so the row shows all but perhaps one.
                assert piece in (whole, whole[:-1])


def test_longer_documents_are_cut_and_lose_no_target():
    n_tokens, seq_len = 23, 5
    (document,) = numbered(n_tokens)
    steps = -(-(n_tokens - 1) // seq_len) * 3

    cut = batches([document], seq_len=seq_len, batch_size=1, steps=steps, seed=1)

    targets = torch.cat([batch.targets.flatten() for batch in cut]).tolist()
    counts = {t: targets.count(t) for t in document.token_ids[1:].tolist()}
    assert all(2 <= count <= 4 for count in counts.values()), counts


def test_what_stays_empty_in_a_row_is_not_learnt():
    batch = next(batches(numbered(4, 4), seq_len=6, batch_size=1, steps=1, seed=0))

    assert batch.documents[0].tolist() == [1, 1, 1, 1, 0, 0]
    assert batch.targets[0, 3:].tolist() == [IGNORED] * 3


def test_rows_are_nearly_full():
    documents = numbered(*[3, 9, 17, 30, 41, 12, 5] * 20)

    filled = [
        float((batch.documents > 0).float().mean())
        for batch in batches(documents, seq_len=64, batch_size=4, steps=20, seed=3)
    ]

    assert np.mean(filled) > 0.97


def test_the_last_token_of_a_document_does_not_predict_the_next_document():
    batch = next(batches(numbered(2, 2, 2), seq_len=6, batch_size=1, steps=1, seed=0))

    borders = batch.documents[0, 1:] != batch.documents[0, :-1]
    assert (batch.targets[0, :-1][borders] == IGNORED).all()


def test_batches_depend_on_the_seed_alone():
    def first(seed):
        cut = batches(numbered(9, 9, 9, 9), seq_len=8, batch_size=2, steps=3, seed=seed)
        return [batch.token_ids.tolist() for batch in cut]

    assert first(1) == first(1)
    assert first(1) != first(2)


@pytest.mark.parametrize(("repeat", "count"), [(1.0, 4), (2.0, 8), (0.5, 2), (1.25, 5)])
def test_repeat_counts_whole_passes_and_a_share(repeat, count):
    chosen = repeated(numbered(1, 2, 3, 4), repeat, np.random.default_rng(0))

    assert len(chosen) == count
    extra = list(itertools.islice(chosen, int(repeat) * 4, None))
    assert len({id(e) for e in extra}) == len(extra)
