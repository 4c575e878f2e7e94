"""Events survive the road from encode to Decoder, however the bytes are cut."""

import json
import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirocco.wire.sse import DONE, PADDING_ALPHABET, Decoder, Padding, encode, encode_texts

# Lone surrogates are included: clients send them in JSON, and models may echo them.
any_text = st.text(st.characters(exclude_categories=()))
events = st.lists(st.dictionaries(any_text, any_text, max_size=3), max_size=5)


def decode_in_pieces(stream: bytes, cuts: list[int]) -> list[str]:
    decoder = Decoder()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = (stream[a:b] for a, b in pairwise(edges))
    return [event for piece in pieces for event in decoder.feed(piece)]


def test_an_event_is_one_line_of_compact_json():
    assert encode({"response": "naïve\n", "p": "ab"}) == (
        'data: {"response":"naïve\\n","p":"ab"}\n\n'.encode()
    )


def test_a_lone_surrogate_is_escaped():
    assert encode({"response": "é\ud800"}) == b'data: {"response":"\\u00e9\\ud800"}\n\n'


def test_numbers_that_json_cannot_say_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        encode({"logprob": math.nan})


@given(events, st.lists(st.integers(min_value=0), max_size=20))
def test_encoded_events_come_back_at_any_split(sent, cuts):
    stream = b"".join(encode(event) for event in sent) + DONE

    *received, last = decode_in_pieces(stream, cuts)

    assert [json.loads(event) for event in received] == sent
    assert last == "[DONE]"


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=20))
def test_no_bytes_break_the_decoder_and_cuts_never_matter(stream, cuts):
    assert decode_in_pieces(stream, cuts) == decode_in_pieces(stream, [])


@given(
    st.lists(
        st.sampled_from([b"data: a", b"data", b":c", b"\r", b"\n", b"\r\n", b"id: 1", b"\xff"])
    ),
    st.lists(st.integers(min_value=0), max_size=20),
)
def test_cuts_never_matter_among_line_ends_and_fields(parts, cuts):
    stream = b"".join(parts)

    assert decode_in_pieces(stream, cuts) == decode_in_pieces(stream, [])


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\r\n\rdata: b\n\r", ["a", "b"]),
        (b"data: a\ndata: b\ndata:\n\n", ["a\nb\n"]),
        (b"data\n\n", [""]),
        (b"data:  a\n\n", [" a"]),
        (b"data:a\n\n", ["a"]),
        (b"data:a:b\n\n", ["a:b"]),
        (b": ping\n\ndata: a\n: ping\n\n", ["a"]),
        (b"event: x\nid: 1\nretry: 5\nDATA: no\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: \xef\xbb\xbf\n\n", ["\ufeff"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        ("data: a\u2028b\x85c\x0bd\n\n".encode(), ["a\u2028b\x85c\x0bd"]),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"", []),
    ],
)
def test_the_standards_rules(stream, expected):
    whole = decode_in_pieces(stream, [])
    byte_by_byte = decode_in_pieces(stream, list(range(len(stream))))

    assert whole == byte_by_byte == expected


def test_an_event_is_returned_as_soon_as_its_blank_line_is_seen():
    decoder = Decoder()

    assert decoder.feed(b"data: a\r\n\r") == ["a"]
    assert decoder.feed(b"\ndata: b\r\n\r\n") == ["b"]


@given(st.dictionaries(any_text, any_text, max_size=3))
def test_an_event_of_texts_has_the_same_bytes_when_it_is_written_fast(event):
    assert encode_texts(event) == encode(event)


def test_padding_has_every_length_up_to_35_and_only_its_alphabet():
    """2,000 draws miss one of 36 lengths with odds below 36 · (35/36)^2000 < 1e-22; seeded."""
    padding = Padding(random.Random(7).randbytes)  # noqa: S311 - a test repeats itself

    drawn = [padding.draw() for _ in range(2000)]

    assert {len(text) for text in drawn} == set(range(36))
    assert set("".join(drawn)) == set(PADDING_ALPHABET)


def test_padding_favours_no_length_and_no_character():
    """Counts of 36,000 draws lie within six standard deviations of what is even; seeded."""
    padding = Padding(random.Random(8).randbytes)  # noqa: S311 - a test repeats itself

    drawn = [padding.draw() for _ in range(36_000)]

    lengths = Counter(map(len, drawn))
    characters = Counter("".join(drawn))
    for counts in (lengths, characters):
        expected = counts.total() / len(counts)
        assert all(abs(n - expected) < 6 * expected**0.5 for n in counts.values())


def test_no_two_draws_share_random_bytes():
    asked = []

    def counted(n):
        asked.append(n)
        return random.Random(len(asked)).randbytes(n)  # noqa: S311 - a test repeats itself

    padding = Padding(counted)
    drawn = [text for text in (padding.draw() for _ in range(1000)) if len(text) > 20]

    assert len(set(drawn)) == len(drawn)
    assert len(asked) < 20
