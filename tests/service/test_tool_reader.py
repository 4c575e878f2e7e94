"""Text is shown at once, calls when they are whole."""

from hypothesis import given
from hypothesis import strategies as st

from sirocco.service.tool_reader import ToolReader
from sirocco.types import ToolCall

CALL = '{"name":"now","arguments":{}}'


def read(pieces):
    reader = ToolReader()
    shown = [reader.feed(piece) for piece in pieces]
    calls, rest = reader.end()
    return shown, calls, rest


def test_text_is_shown_as_it_comes():
    assert read(["", "It ", "rains {"]) == (["", "It ", "rains {"], (), "")


def test_calls_come_in_the_end_and_nothing_is_shown():
    assert read(["{", CALL[1:]]) == (["", ""], (ToolCall("now", "{}"),), "")


def test_calls_that_were_cut_off_are_text():
    assert read([CALL[:-1]]) == ([""], (), CALL[:-1])


@given(st.lists(st.sampled_from(["", "a", "{", CALL, "[", " "]), max_size=6))
def test_nothing_is_lost(pieces):
    shown, calls, rest = read(pieces)

    assert calls or "".join(shown) + rest == "".join(pieces)
