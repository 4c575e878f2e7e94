import json

import pytest

from sirocco.errors import ConfigError
from sirocco.lab.texts import encode_texts, read_texts

LINE = "The wind that blows from the south carries the dust of a far desert, line {}.\n"


@pytest.fixture
def folder(tmp_path):
    """Two files of some thirty pieces."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("".join(LINE.format(i) for i in range(2000)))
    rows = [{"text": LINE.format(i) * 20} for i in range(2000, 2050)]
    (folder / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_the_texts_of_the_package_are_split_the_same_each_time(tmp_path):
    one, other = (read_texts(None, vocab_size=300, work=tmp_path) for _ in range(2))

    assert one.name == "Shakespeare"
    assert [p.token_ids.tolist() for p in one.held_out] == [
        p.token_ids.tolist() for p in other.held_out
    ]
    assert 0.02 < len(one.held_out) / (len(one.held_out) + len(one.learnt)) < 0.25
    assert one.n_tokens > 400_000


def test_what_is_held_out_is_not_learnt(folder, tmp_path):
    texts = read_texts(folder, vocab_size=300, work=tmp_path)

    learnt = {tuple(piece.token_ids.tolist()) for piece in texts.learnt}
    assert texts.held_out
    assert not learnt & {tuple(piece.token_ids.tolist()) for piece in texts.held_out}


def test_a_folder_is_read_file_by_file_and_keeps_its_words(folder, tmp_path):
    texts = read_texts(folder, vocab_size=300, work=tmp_path)

    pieces = (*texts.learnt, *texts.held_out)
    decoded = "".join(texts.tokenizer.decode(piece.token_ids.tolist()) for piece in pieces)
    for number in (0, 1999, 2000, 2049):
        assert LINE.format(number).strip() in decoded


def test_a_vocabulary_that_is_there_is_used(folder, tmp_path):
    learnt = read_texts(None, vocab_size=300, work=tmp_path)

    texts = encode_texts(folder, learnt.tokenizer)

    assert texts.tokenizer is learnt.tokenizer
    assert LINE.format(5).strip() in learnt.tokenizer.decode(
        [i for piece in (*texts.learnt, *texts.held_out) for i in piece.token_ids.tolist()]
    )


def test_the_seed_alone_decides_what_is_learnt(folder, tmp_path):
    texts = read_texts(folder, vocab_size=300, work=tmp_path)

    def rows(seed):
        batches = texts.batches(seq_len=16, batch_size=2, steps=3, seed=seed)
        return [batch.token_ids.tolist() for batch in batches]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_too_little_text_is_refused_by_its_size(tmp_path):
    (tmp_path / "short.txt").write_text("Not much.")

    with pytest.raises(ConfigError, match="has 1 pieces of 8000 characters; 20 or more"):
        read_texts(tmp_path, vocab_size=300, work=tmp_path)


def test_a_long_row_that_no_piece_can_give_is_refused(folder, tmp_path):
    texts = read_texts(folder, vocab_size=300, work=tmp_path)

    assert all(len(row) == 500 for row in texts.long_rows(500, 3))
    with pytest.raises(ConfigError, match="no piece of text has 99999 tokens"):
        texts.long_rows(99_999, 1)
