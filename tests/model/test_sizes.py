"""Bytes of weights, counted before there are any."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirocco.model.config import ModelConfig
from sirocco.model.linear import FORMATS
from sirocco.model.presets import preset
from sirocco.model.random_model import random_model
from sirocco.model.sizes import loading_bytes, weight_bytes


@settings(max_examples=25, deadline=None)
@given(
    form=st.sampled_from(["bfloat16", "fp8", "int4"]),
    dim=st.sampled_from([32, 40, 128]),
    head_dim=st.sampled_from([8, 32]),
    n_kv_heads=st.sampled_from([1, 2, 4]),
    hidden_dim=st.sampled_from([48, 50, 256]),
    tie_embeddings=st.booleans(),
)
def test_bytes_are_those_of_the_network(form, tie_embeddings, **sizes):
    """Whatever the shapes, of which int4 and fp8 take some and leave others as they are."""
    shape = ModelConfig(
        vocab_size=37, n_layers=2, n_heads=4, tie_embeddings=tie_embeddings, **sizes
    )

    model = random_model(shape, weights=FORMATS[form])

    kept = {t.data_ptr(): t.nbytes for t in (*model.parameters(), *model.buffers())}
    assert weight_bytes(shape, FORMATS[form]) == sum(kept.values())


@pytest.mark.parametrize(("form", "gb"), [("bfloat16", 14.48), ("fp8", 7.51), ("int4", 4.24)])
def test_mistral_takes_what_is_known_of_it(form, gb):
    """7.242 billion weights; of these 0.262 in embedding and head stay in bfloat16."""
    shape = preset("mistral-7b")

    assert weight_bytes(shape, FORMATS[form]) / 1e9 == pytest.approx(gb, abs=0.01)
    assert loading_bytes(shape, FORMATS[form]) < 3e9
