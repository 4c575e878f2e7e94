"""A text is refused by its length alone only if it could not fit, however it is tokenised."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.errors import PromptTooLong
from sirocco.service.prompt_size import check_prompt_size, fewest_tokens, longest_token
from sirocco.tokenizer import load_tokenizer
from sirocco.tokenizer.byte import ByteTokenizer

EMBEDDED = load_tokenizer(Catalog(Path()).find(EMBEDDED_MODEL_ID).folder)
LONGEST = longest_token(EMBEDDED)
TEXTS = st.text() | st.text("ae \n", max_size=400) | st.just("attention " * 40) | st.just(" " * 999)


@given(TEXTS)
def test_no_text_has_fewer_tokens_than_it_is_said_to_have(text):
    assert fewest_tokens(len(text), LONGEST) <= len(EMBEDDED.encode(text))


def test_the_longest_token_is_found():
    assert longest_token(ByteTokenizer()) == 1
    assert any(len(EMBEDDED.token_bytes(i) or b"") == LONGEST for i in range(EMBEDDED.vocab_size))


def test_what_cannot_fit_is_refused_with_the_fewest_tokens_that_it_could_be():
    check_prompt_size(90, 10, max_tokens=1, limit_tokens=10)

    with pytest.raises(PromptTooLong, match=r"\(10 \+ 5\).*\(10\)"):
        check_prompt_size(91, 10, max_tokens=5, limit_tokens=10)
