"""Which models a search finds, and which page of them is shown."""

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.catalog.search import Search, page_of, source_of

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"


@pytest.fixture
def found(tmp_path):
    entries = Catalog(tmp_path).entries
    return lambda **wanted: [e.model_id for e in entries if Search(**wanted).matches(e)]


def test_a_search_for_nothing_finds_all(found, tmp_path):
    assert len(found()) == len(Catalog(tmp_path).entries)


@pytest.mark.parametrize("text", ["MISTRAL-7b-instruct-V0.1", "window of 4096"])
def test_a_text_is_looked_for_in_ids_and_descriptions(found, text):
    assert MISTRAL in found(text=text)


def test_a_text_is_looked_for_in_aliases(found):
    assert found(text="@cf/mistral/mistral-7b-instruct-v0.2") == [
        "@hf/mistral/mistral-7b-instruct-v0.2"
    ]


@pytest.mark.parametrize("task", ["Text Generation", "text generation", "text-generation"])
def test_a_task_is_named_as_people_or_as_programs_do(found, task):
    assert found(task=task) == found()
    assert found(task="Translation") == []


def test_an_author_is_the_ids_second_word(found):
    assert set(found(author="Mistral")) == {MISTRAL, "@hf/mistral/mistral-7b-instruct-v0.2"}
    assert found(author="sirocco") == [EMBEDDED_MODEL_ID]


def test_a_source_is_the_ids_first_word(found):
    assert all(model_id.startswith("@cf/") for model_id in found(source=1))
    assert all(model_id.startswith("@hf/") for model_id in found(source=2))
    assert found(source=3) == [EMBEDDED_MODEL_ID]
    assert found(source=9) == []


def test_experimental_models_can_be_hidden(found):
    assert "@hf/thebloke/zephyr-7b-beta-awq" in found()
    assert "@hf/thebloke/zephyr-7b-beta-awq" not in found(hide_experimental=True)
    assert MISTRAL in found(hide_experimental=True)


def test_conditions_hold_together(found):
    assert found(text="llama", source=1, hide_experimental=True) == [
        "@cf/meta/llama-2-7b-chat-fp16", "@cf/meta/llama-2-7b-chat-int8",
    ]  # fmt: skip


def test_pages_are_whole_and_end():
    pages = [page_of("abcde", number, 2) for number in (1, 2, 3, 4)]

    assert pages == [["a", "b"], ["c", "d"], ["e"], []]
    assert page_of("abcde", 10**30, 10**30) == []


def test_every_source_has_a_number(tmp_path):
    assert {source_of(entry) for entry in Catalog(tmp_path).entries} == {1, 2, 3}
