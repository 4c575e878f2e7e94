"""Text is shown at once, calls when they are whole, and half a call never."""

from hypothesis import given
from hypothesis import strategies as st

from sirocco.service.tool_reader import ToolReader
from sirocco.tokenizer.tools import CallsRead
from sirocco.types import ToolCall

CALL = '{"name":"now","arguments":{}}'
NOW = ToolCall("now", "{}")


def read(pieces):
    reader = ToolReader()
    shown = [reader.feed(piece) for piece in pieces]
    return shown, reader.end()


def test_text_is_shown_as_it_comes():
    assert read(["", "It ", "rains {"]) == (["", "It ", "rains {"], CallsRead())


def test_calls_come_in_the_end_and_nothing_is_shown():
    assert read(["{", CALL[1:]]) == (["", ""], CallsRead((NOW,)))


def test_a_call_that_was_cut_off_is_not_shown_as_text():
    assert read([CALL[:-1]]) == ([""], CallsRead(is_cut_off=True))


def test_calls_before_the_one_that_was_cut_off_are_there():
    assert read(["[", CALL, ",", CALL[:9]]) == ([""] * 4, CallsRead((NOW,), is_cut_off=True))


@given(st.lists(st.sampled_from(["", "a", "{", CALL, "[", " "]), max_size=6))
def test_an_answer_is_all_text_or_all_calls(pieces):
    shown, called = read(pieces)

    text = "".join(pieces)
    is_calls = text[:1] in ("{", "[") and bool(text)
    assert "".join(shown) == ("" if is_calls else text)
    assert bool(called.calls or called.is_cut_off) is is_calls
