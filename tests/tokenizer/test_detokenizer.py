"""Text that grows token by token."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sirocco.tokenizer.byte import ByteTokenizer
from sirocco.tokenizer.detokenizer import Detokenizer

shared_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class CountingTokenizer(ByteTokenizer):
    """Notes how many tokens each `decode` is given."""

    def __init__(self) -> None:
        super().__init__()
        self.n_decoded: list[int] = []

    def decode(self, token_ids: Sequence[int]) -> str:
        self.n_decoded.append(len(token_ids))
        return super().decode(token_ids)


def pieces_of(tokenizer, token_ids, prompt=()):
    detokenizer = Detokenizer(tokenizer, prompt)
    return [*map(detokenizer.add, token_ids), detokenizer.flush()]


@shared_fixture
@given(text=st.text(max_size=40))
def test_pieces_of_a_text_join_to_it(tokenizer, text):
    token_ids = tokenizer.encode(text)

    pieces = pieces_of(tokenizer, token_ids)

    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@shared_fixture
@given(data=st.data())
def test_pieces_of_any_tokens_join_to_their_one_shot_decoding(tokenizer, data):
    """Also of tokens that no text has: broken bytes, control tokens, spaces upon spaces."""
    vocabulary = st.integers(0, min(tokenizer.vocab_size, 700) - 1)
    token_ids = data.draw(st.lists(vocabulary, max_size=30))

    assert "".join(pieces_of(tokenizer, token_ids)) == tokenizer.decode(token_ids)


@shared_fixture
@given(prompt=st.text(max_size=20), answer=st.text(max_size=20))
def test_after_a_prompt_the_pieces_join_to_what_the_answer_adds(tokenizer, prompt, answer):
    prompt_ids, answer_ids = tokenizer.encode(prompt), tokenizer.encode(answer)

    joined = prompt + "".join(pieces_of(tokenizer, answer_ids, prompt_ids))

    assert joined == tokenizer.decode([*prompt_ids, *answer_ids])


def test_a_character_is_shown_with_its_last_byte(tokenizer_of):
    tokenizer = tokenizer_of("byte")

    assert pieces_of(tokenizer, tokenizer.encode("a🌬b")) == ["a", "", "", "", "🌬", "b", ""]


def test_half_a_character_at_the_end_is_shown_as_broken(tokenizer_of):
    tokenizer = tokenizer_of("byte")

    assert pieces_of(tokenizer, tokenizer.encode("a€")[:-1]) == ["a", "", "", "\ufffd"]


@pytest.mark.parametrize(
    ("prompt", "answer", "shown"), [("The cat", " sat", " sat"), ("", "sat", "sat")]
)
def test_a_space_between_prompt_and_answer_is_kept(tokenizer_of, prompt, answer, shown):
    """Mistral's vocabulary writes a leading space for a word that begins a text, too."""
    tokenizer = tokenizer_of("mistral")
    prompt_ids = tokenizer.encode(prompt)
    answer_ids = tokenizer.encode(answer.strip())

    assert "".join(pieces_of(tokenizer, answer_ids, prompt_ids)) == shown


def test_a_token_costs_the_same_however_long_the_text_is():
    tokenizer = CountingTokenizer()
    detokenizer = Detokenizer(tokenizer, tokenizer.encode("a long prompt " * 50))

    for token_id in tokenizer.encode("many tokens " * 50):
        detokenizer.add(token_id)

    assert max(tokenizer.n_decoded) <= 9
