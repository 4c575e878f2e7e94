"""What a caller sees of the tokens."""

from hypothesis import given
from hypothesis import strategies as st

from sirocco.engine.output import OutputText
from sirocco.tokenizer.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()


def shown(text, stop=()):
    """The pieces that a text gives, byte by byte, and whether a stop string ended it."""
    output = OutputText(TOKENIZER, [], tuple(stop))
    pieces = []
    for token_id in TOKENIZER.encode(text):
        pieces.append(output.add(token_id))
        if output.is_stopped:
            return pieces, True
    return [*pieces, output.flush()], False


def test_text_ends_before_the_stop_string():
    pieces, stopped = shown("one two three", stop=["two"])

    assert ("".join(pieces), stopped) == ("one ", True)


def test_what_may_become_a_stop_string_is_held_back_until_it_does_not():
    pieces, stopped = shown("abXabYz", stop=["abY"])

    assert pieces[:6] == ["", "", "abX", "", "", ""]
    assert ("".join(pieces), stopped) == ("abX", True)


def test_a_beginning_of_a_stop_string_at_the_end_is_text():
    pieces, stopped = shown("the en", stop=["end"])

    assert ("".join(pieces), stopped) == ("the en", False)


def test_the_stop_string_that_comes_first_wins():
    pieces, _ = shown("a b c", stop=["c", "b", "b c"])

    assert "".join(pieces) == "a "


def test_a_stop_string_of_wide_characters_is_found():
    pieces, stopped = shown("go 🌬️停 on", stop=["停"])

    assert ("".join(pieces), stopped) == ("go 🌬️", True)


@given(
    text=st.text(alphabet="abé", max_size=30),
    stop=st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=3),
)
def test_pieces_join_to_the_text_before_the_first_stop_string(text, stop):
    pieces, stopped = shown(text, stop)

    joined = "".join(pieces)
    assert text.startswith(joined)
    assert not any(s in joined for s in stop)
    if not stopped:
        assert joined == text
        assert not any(s in text for s in stop)
    else:
        # Bytes arrive one by one, so the stop string that is whole first ends the text.
        first_whole = min(text.find(s) + len(s) for s in stop if s in text)
        assert any(
            text.find(s) == len(joined) and text.find(s) + len(s) == first_whole
            for s in stop
            if s in text
        )
