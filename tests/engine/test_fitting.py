"""What of a GPU's memory goes to what, by arithmetic alone."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sirocco.engine.config import EngineConfig
from sirocco.engine.fitting import blocks_of, choose_fitting, fit, least_bytes, work_bytes
from sirocco.engine.loading import config_for, weights_for
from sirocco.errors import ConfigError
from sirocco.kvcache.format import BFLOAT16, FP8
from sirocco.model.linear import FORMATS
from sirocco.model.presets import preset

GIB = 2**30
MISTRAL = preset("mistral-7b")
FORMS = [FORMATS[name] for name in ("bfloat16", "fp8", "int4")]


def outcome(work):
    """Give the result, or the sentence with which it was refused."""
    try:
        return work(), ""
    except ConfigError as error:
        return None, str(error)


def work_of(shape, config):
    return work_bytes(shape, max_step_tokens=config.max_step_tokens, max_seq_len=config.max_seq_len,
                      max_running=config.max_running)  # fmt: skip


@settings(deadline=None)  # the first look at a network's parts is slow
@given(
    free_gib=st.floats(0.5, 200),
    window=st.sampled_from([None, 1024, 4096]),
    max_running=st.integers(1, 256),
    max_seq_len=st.one_of(st.none(), st.integers(1, 32768)),
    kv_gib=st.one_of(st.none(), st.floats(0.01, 300)),
    kv_format=st.sampled_from([BFLOAT16, FP8]),
)
def test_what_is_taken_is_there_and_suffices(
    *, free_gib, window, max_running, max_seq_len, kv_gib, kv_format
):
    shape = replace(MISTRAL, window=window)
    asked = EngineConfig(max_running=max_running, max_seq_len=max_seq_len,
                         kv_cache_bytes=None if kv_gib is None else int(kv_gib * GIB))  # fmt: skip
    free_bytes = int(free_gib * GIB)
    fitted, refusal = outcome(lambda: fit(shape, asked, kv_format, free_bytes=free_bytes))
    if fitted is None:
        # Work space for one answer, and what is left alone: nothing above that is refused.
        assert free_gib < 2.0
        assert "GiB free" in refusal
        return

    config = fitted.config
    assert config.kv_cache_bytes is not None
    assert config.max_seq_len is not None
    assert config.kv_cache_bytes + work_of(shape, config) < free_bytes
    n_blocks = config.n_blocks(shape, kv_format=kv_format, device=None)
    assert n_blocks >= 1
    holds_longest = blocks_of(shape, config, config.max_seq_len) <= n_blocks
    assert holds_longest or config.max_seq_len <= n_blocks * config.block_size
    assert 1 <= config.max_running <= max_running
    assert config.max_seq_len <= (max_seq_len or shape.max_seq_len)
    if asked.kv_cache_bytes is not None:
        assert config.kv_cache_bytes <= asked.kv_cache_bytes


@settings(deadline=None)  # the first look at a network's parts is slow
@given(free_gib=st.floats(2, 200), more_gib=st.floats(0, 50))
def test_more_memory_never_gives_less(free_gib, more_gib):
    config = EngineConfig()

    less = fit(MISTRAL, config, BFLOAT16, free_bytes=int(free_gib * GIB)).config
    more = fit(MISTRAL, config, BFLOAT16, free_bytes=int((free_gib + more_gib) * GIB)).config

    assert more.max_running >= less.max_running
    assert (more.max_seq_len or 0) >= (less.max_seq_len or 0)


@settings(deadline=None)  # the first look at a network's parts is slow
@given(free_gib=st.floats(1, 100), asked=st.sampled_from(FORMS), is_fixed=st.booleans())
def test_weights_that_do_not_fit_are_refused_or_replaced(free_gib, asked, is_fixed):
    free_bytes = int(free_gib * GIB)
    config = EngineConfig()
    others = [form for form in FORMS if form != asked]
    chosen, refusal = outcome(
        lambda: choose_fitting(
            MISTRAL, config, asked, others, free_bytes=free_bytes, is_fixed=is_fixed
        )
    )
    if chosen is None:
        would_fit = [f for f in FORMS if least_bytes(MISTRAL, config, f) < 0.9 * free_bytes - GIB]
        assert asked.name in refusal
        assert all(f.name in refusal for f in would_fit)
        assert not would_fit or is_fixed
        return
    form, note = chosen
    assert least_bytes(MISTRAL, config, form) < free_bytes
    assert (note is None) == (form is asked)
    assume(note is not None)
    assert form.name in str(note)
    assert not is_fixed


def test_a_large_card_gives_all_that_is_asked_and_no_more():
    fitted = fit(MISTRAL, EngineConfig(), BFLOAT16, free_bytes=60 * GIB)

    assert fitted.note is None
    assert fitted.config.max_running == 64
    assert fitted.config.max_seq_len == 32768
    assert fitted.config.kv_cache_bytes == 64 * (289 * 16 * 131072)  # 4096 + 512 positions, and 1


def test_a_small_card_runs_fewer_answers_before_it_cuts_them_short():
    tight = fit(MISTRAL, EngineConfig(), BFLOAT16, free_bytes=int(2.3 * GIB))
    tighter = fit(MISTRAL, EngineConfig(), BFLOAT16, free_bytes=int(1.6 * GIB))

    assert tight.config.max_seq_len == 32768
    assert tight.note is None or "max_seq_len" not in tight.note
    assert (tighter.config.max_seq_len or 0) < 4096
    assert tighter.config.max_running == 1
    assert str(tighter.note).startswith("the GPU has 1.6 GiB free beside the weights, too little")
    assert f"max_seq_len is {tighter.config.max_seq_len} in place of 32768" in str(tighter.note)


def test_a_cache_that_was_asked_too_large_is_cut_and_said():
    asked = EngineConfig(kv_cache_bytes=100 * GIB)

    fitted = fit(MISTRAL, asked, BFLOAT16, free_bytes=20 * GIB)

    assert 15 * GIB < (fitted.config.kv_cache_bytes or 0) < 19 * GIB
    assert f"in place of {100 * GIB}" in str(fitted.note)


@pytest.mark.parametrize(
    ("free_gib", "is_fixed", "said"),
    [
        (12, True, "the weights take 13.5 GiB in bfloat16, and .* with --weights fp8 .* or int4"),
        (7, True, "with --weights int4 \\(3.9 GiB\\) it would fit"),
        (3, True, "no other format of a GPU fits; --device cpu may do"),
        (3, False, "no other format of a GPU fits"),
    ],
)
def test_the_sentence_names_numbers_and_formats(free_gib, is_fixed, said):
    with pytest.raises(ConfigError, match=said):
        choose_fitting(MISTRAL, EngineConfig(), FORMS[0], FORMS[1:], free_bytes=free_gib * GIB,
                       is_fixed=is_fixed)  # fmt: skip


def test_an_open_format_becomes_the_first_that_fits():
    form, note = choose_fitting(MISTRAL, EngineConfig(), FORMS[0], FORMS[1:], free_bytes=12 * GIB,
                                is_fixed=False)  # fmt: skip

    assert form.name == "fp8"
    assert str(note).startswith("weights are fp8 in place of bfloat16: the weights take 13.5 GiB")


@pytest.fixture
def ada_with_12_gib(monkeypatch):
    """A card as torch would tell of it."""
    monkeypatch.setattr("sirocco.engine.loading.free_memory_bytes", lambda _: 12 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (8, 9))
    return torch.device("cuda")


def test_loading_asks_the_card_and_passes_on_what_became_less(ada_with_12_gib):
    notes: list[str] = []
    asked = EngineConfig(kv_cache_bytes=30 * GIB, attention="sdpa")

    form = weights_for("auto", MISTRAL, ada_with_12_gib, asked, notes.append)
    model = SimpleNamespace(device=ada_with_12_gib, dtype=torch.bfloat16, config=MISTRAL)
    config = config_for(model, asked, notes.append)  # type: ignore[arg-type]

    assert form.name == "fp8"
    assert (config.kv_cache_bytes or 0) < 12 * GIB
    assert [note.split(" is ")[0].split(" are ")[0] for note in notes] == [
        "weights", "the GPU has 12.0 GiB free beside the weights, too little for what was asked: "
        "kv_cache_bytes",
    ]  # fmt: skip


def test_a_cpu_takes_sizes_as_they_are():
    asked, notes = EngineConfig(kv_cache_bytes=2**50), list[str]()
    model = SimpleNamespace(device=torch.device("cpu"))

    assert config_for(model, asked, notes.append) is asked  # type: ignore[arg-type]
    assert weights_for("q4", MISTRAL, torch.device("cpu"), asked, notes.append).name == "q4"
    assert not notes
