"""What an inspection tells is what the model does when it serves."""

import numpy as np
import pytest
import torch

from sirocco.attention.dense import causal_mask
from sirocco.engine.inspection.request import InspectionRequest
from sirocco.engine.inspection.run import InspectionRun
from sirocco.engine.request import Request
from sirocco.engine.scoring import score
from sirocco.errors import ModelFault
from sirocco.model.config import ModelConfig
from sirocco.model.random_model import random_model
from sirocco.model.weights import load_model, save_model
from sirocco.types import SamplingParams, TokenLogprob

N_TOKENS = 41
TEXT = [(7 * i * i + 3 * i) % 250 + 3 for i in range(N_TOKENS)]


def shape_of(n_kv_heads, window):
    return ModelConfig(
        vocab_size=259, dim=32, n_layers=2, n_heads=4, n_kv_heads=n_kv_heads, head_dim=8,
        hidden_dim=48, window=window, max_seq_len=256,
    )  # fmt: skip


def inspected(model, *, n_rows=16, layers=(0, 1), heads=(0, 1, 2, 3), n_alternatives=3, **options):
    """Run a whole inspection: maps [L, H, S, S], and what follows each token."""
    options = {"encoding": "float16", **options}
    request = InspectionRequest("r", TEXT, layers, heads, n_alternatives, **options)
    run = InspectionRun(model, request)
    kind = np.uint8 if request.encoding == "uint8" else np.float16
    pieces = []
    following: list[TokenLogprob] = []
    while run.n_left:
        rows = run.advance(n_rows)
        following += rows.following
        planes = np.frombuffer(rows.attention, kind)
        pieces.append(planes.reshape(len(layers), len(heads), -1, N_TOKENS))
    return np.concatenate(pieces, axis=2), following


@pytest.fixture
def lively_model():
    """Attention of random weights is nearly even; with larger ones every head has a taste."""

    def make(n_kv_heads=2, window=16):
        model = random_model(shape_of(n_kv_heads, window), seed=3)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(10.0)
        return model

    return make


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 1, 16])
def test_rows_add_up_to_1_and_nothing_is_outside_of_the_window(lively_model, n_kv_heads, window):
    maps, _ = inspected(lively_model(n_kv_heads, window))

    hidden = ~causal_mask(N_TOKENS, window).numpy()
    np.testing.assert_allclose(maps.astype(np.float64).sum(-1), 1.0, atol=2e-3)
    assert not maps[..., hidden].any()
    assert maps[..., ~hidden].any()


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("window", [None, 16])
def test_log_probabilities_equal_those_of_the_path_that_serves(
    make_engine, lively_model, n_kv_heads, window
):
    model = lively_model(n_kv_heads, window)

    _, following = inspected(model)

    expected = score(make_engine(model=model), TEXT)
    actual = [token.logprob for token in following[:-1]]
    assert [token.token_id for token in following[:-1]] == TEXT[1:]
    np.testing.assert_allclose(actual, expected, atol=2e-4)


@pytest.mark.parametrize("weights", ["float32", "q8", "q4"])
def test_with_weights_of_every_format_what_comes_next_is_what_is_served(
    make_engine, run_all, lively_model, tmp_path, weights
):
    """Serving rounds the cache to float16 beside rounded weights: the likeliest token stays."""
    from sirocco.model.linear import FORMATS

    save_model(lively_model(), tmp_path)
    model = load_model(tmp_path, device=torch.device("cpu"), weights=FORMATS[weights])
    engine = make_engine(model=model)
    engine.add(Request("r", TEXT, SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True)))

    _, following = inspected(model)

    assert [following[-1].token_id] == run_all(engine)["r"]


def test_pieces_of_any_size_give_the_same(lively_model):
    model = lively_model()
    whole, following = inspected(model, n_rows=N_TOKENS)

    for n_rows in (1, 7):
        maps, other = inspected(model, n_rows=n_rows)

        np.testing.assert_allclose(maps.astype(np.float32), whole.astype(np.float32), atol=1e-3)
        np.testing.assert_allclose(
            [t.logprob for t in other], [t.logprob for t in following], atol=1e-4
        )


def test_a_map_is_that_of_the_layer_and_head_that_were_asked_for(lively_model):
    model = lively_model()
    every, _ = inspected(model)

    some, _ = inspected(model, layers=(1,), heads=(0, 3))

    np.testing.assert_array_equal(some[0], every[1][[0, 3]])
    assert not np.array_equal(every[0, 0], every[1, 0])
    assert not np.array_equal(every[1, 0], every[1, 3])


def test_query_heads_of_a_group_read_the_same_keys(lively_model):
    """Heads 0 and 1 share a KV head. With the same queries they look at the same tokens."""
    model = lively_model(n_kv_heads=2)
    wq = model.layers[0].attention.wq.weight
    with torch.no_grad():
        wq[8:16] = wq[:8]  # head 1 asks what head 0 does
        wq[16:24] = wq[:8]  # head 2, too, but of other keys

    maps, _ = inspected(model, layers=(0,))

    np.testing.assert_array_equal(maps[0, 0], maps[0, 1])
    assert not np.array_equal(maps[0, 0], maps[0, 2])


def test_a_byte_of_uint8_is_a_probability_in_255_parts(lively_model):
    model = lively_model()
    exact, _ = inspected(model)

    coarse, _ = inspected(model, encoding="uint8")

    np.testing.assert_allclose(coarse / 255, exact.astype(np.float64), atol=0.5 / 255 + 1e-3)


def test_alternatives_are_the_likeliest_in_order(lively_model):
    _, following = inspected(lively_model(), n_alternatives=5)

    for token in following:
        logprobs = [logprob for _, logprob in token.top]
        assert len(logprobs) == 5
        assert logprobs == sorted(logprobs, reverse=True)
        assert token.logprob <= logprobs[0]
    assert following[-1].token_id == following[-1].top[0][0]


def test_nothing_is_told_that_was_not_asked_for(lively_model):
    request = InspectionRequest("r", TEXT)

    rows = InspectionRun(lively_model(), request).advance(N_TOKENS)

    assert rows.attention == b""
    assert len(rows.following) == N_TOKENS
    assert all(token.top == () for token in rows.following)


def test_a_model_without_numbers_is_a_fault(lively_model):
    model = lively_model()
    model.norm.weight.data[0] = float("nan")

    with pytest.raises(ModelFault, match="not finite"):
        InspectionRun(model, InspectionRequest("r", TEXT)).advance(4)


def test_the_engines_cache_is_not_touched(make_engine, run_all, lively_model):
    """An inspection between the steps of an answer leaves it as it would have been."""
    model = lively_model()
    sampling = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
    alone = make_engine(model=model)
    alone.add(Request("r", TEXT, sampling))
    expected = run_all(alone)["r"]
    engine = make_engine(model=model)
    engine.add(Request("r", TEXT, sampling))
    engine.inspections.add(InspectionRequest("i", TEXT[::-1], (0,), (0,)))

    actual = []
    while engine.has_work:
        actual += [token for piece in engine.step() for token in piece.token_ids]
        if engine.inspections.has_work:
            engine.inspections.advance()

    assert actual == expected
