"""Reading documents, and keeping some of them back."""

import gzip
import json

import pytest

from sirocco.errors import ConfigError
from sirocco.training.corpus import WRITTEN, Document, is_held_out, read_source


def write_rows(path, rows):
    text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_rows_are_texts_or_conversations(tmp_path, name):
    turns = [("user", "hi"), ("assistant", "yo"), ("user", "bye")]
    messages = [{"role": role, "content": content} for role, content in turns]
    write_rows(tmp_path / name, [{"text": "one"}, {"messages": messages}])

    text, chat = read_source(name, tmp_path)

    assert text.text == "one"
    assert [m.content for m in chat.messages] == ["hi", "yo"]


def test_a_folder_is_all_texts_in_it(tmp_path):
    (tmp_path / "texts" / "more").mkdir(parents=True)
    (tmp_path / "texts" / "a.txt").write_text("first")
    (tmp_path / "texts" / "b.md").write_text("second")
    (tmp_path / "texts" / "c.png").write_bytes(b"no text")
    write_rows(tmp_path / "texts" / "more" / "d.jsonl", [{"text": "third"}])

    assert [d.text for d in read_source("texts", tmp_path)] == ["first", "second", "third"]


def test_a_folder_without_texts_is_named(tmp_path):
    (tmp_path / "texts").mkdir()

    with pytest.raises(ConfigError, match=r"texts holds no \.jsonl, \.txt, \.md file"):
        read_source("texts", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", "{", "a.jsonl, line 1"),
        ("a.jsonl", '{"text": "x"}\n{"no": 1}', "a.jsonl, line 2"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "x"}]}', "line 1"),
        ("a.csv", "x", "plain or .gz"),
        ("a.jsonl.gz", "not gzip", "cannot be read"),
    ],
)
def test_an_unreadable_source_is_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)

    with pytest.raises(ConfigError) as raised:
        read_source(name, tmp_path)
    assert sentence in str(raised.value)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.txt cannot be read"):
        read_source("absent.txt", tmp_path)


def test_the_same_text_is_always_held_out_or_never():
    documents = [Document(text=f"text {i}") for i in range(2000)]

    share = sum(is_held_out(d, 0.1) for d in documents) / len(documents)

    assert 0.07 < share < 0.13
    assert all(is_held_out(d, 0.1) == is_held_out(Document(text=d.text), 0.1) for d in documents)


@pytest.mark.parametrize("path", WRITTEN)
def test_written_sources_are_in_the_package_and_depend_on_the_seed_alone(tmp_path, path):
    one, same, other = (read_source(path, tmp_path, seed=seed) for seed in (1, 1, 2))

    assert len(one) > 1000
    assert one == same
    assert one != other
