"""Ids, names and moments: which are made, which are taken."""

from datetime import UTC, datetime

import pytest

from sirocco.errors import InvalidInput
from sirocco.store.values import is_id, new_id, require_name, require_zone


def test_a_new_id_is_an_id_and_no_two_are_alike():
    ids = {new_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(is_id(text) for text in ids)


@pytest.mark.parametrize(
    "text", ["", "a" * 31, "a" * 33, "a" * 32 + "\n", "A" * 32, "g" * 32, "١" * 32]
)
def test_what_is_not_exactly_32_lowercase_hex_digits_is_no_id(text):
    assert is_id("0123456789abcdef" * 2)
    assert not is_id(text)


def test_a_refused_name_is_not_repeated_at_full_length():
    with pytest.raises(InvalidInput) as refused:
        require_name("x" * 1_000_000)

    assert "with 1000000" in str(refused.value)
    assert len(str(refused.value)) < 120


def test_a_moment_with_a_zone_or_none_is_given_back():
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    assert require_zone("since", moment) == moment
    assert require_zone("since", None) is None
