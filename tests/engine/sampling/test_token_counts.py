"""Counts that are kept equal those that are made anew."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sirocco.engine.sampling.token_counts import TokenCounts

tokens = st.lists(st.integers(0, 12), max_size=20)


def as_dict(counts):
    return dict(zip(counts.ids.tolist(), counts.n_in_output.tolist(), strict=True))


@given(prompt=tokens, output=tokens, guesses=tokens)
def test_counts_say_what_was_seen_and_how_often_in_the_output(prompt, output, guesses):
    counts = TokenCounts(prompt, len(prompt))
    for token_id in output:
        counts.append(token_id)
    longer = counts.followed_by(guesses)

    for found, seen in ((counts, output), (longer, output + guesses)):
        expected = dict.fromkeys(prompt, 0) | Counter(seen)
        assert as_dict(found) == expected
        assert as_dict(TokenCounts(prompt + seen, len(prompt))) == expected
        assert found.n_tokens == len(prompt) + len(seen)
        assert len(found) == len(expected)
