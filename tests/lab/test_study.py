"""One tiny study, and what its figures and pages say."""

import json
import re
from xml.etree import ElementTree as ET

import pytest

from sirocco.lab.conversion import up_training
from sirocco.lab.pictures import draw
from sirocco.lab.report import headline, report, verdict, write_report
from sirocco.lab.study import write_json

VARIANTS = ["MHA", "GQA-8", "GQA-4", "GQA-2", "MQA"]


@pytest.fixture(scope="module")
def pictures(study):
    return draw(study)


def test_the_table_has_a_row_for_each_attention(study):
    table = study.table()

    assert [row.variant for row in table] == VARIANTS
    assert [row.n_kv_heads for row in table] == [16, 8, 4, 2, 1]
    assert [row.kv_bytes_per_token for row in table] == [1024, 512, 256, 128, 64]
    assert all(4 < row.loss < 7 for row in table)  # ln 300 is 5.7
    assert (table[0].gain, table[0].loss_over_mha) == (1.0, 0.0)


def test_everything_that_was_announced_was_done(study, told, tiny):
    n_up = up_training(tiny.quality, 3).steps

    assert told == {
        "timing decode": [15, 15], "timing a window": [6, 6], "training": [30, 30],
        "converting": [5 * n_up, 5 * n_up], "training with a window": [6, 6],
    }  # fmt: skip


def test_in_equal_memory_each_has_its_own_largest_batch(study):
    batches = [g.time.batch for g in study.comparison.equal_memory if g.time.context == 256]

    assert batches == [2, 4, 8, 16, 32]
    for gain in study.comparison.equal_memory:
        assert gain.time.kv_held_bytes == study.comparison.kv_cache_bytes


def test_the_bytes_alone_allow_the_group_size_in_equal_memory(study):
    for gain in study.comparison.equal_memory:
        # Not to the digit, since the widened feed-forward is rounded to whole groups.
        assert gain.by_bytes == pytest.approx(gain.group_size, rel=0.1)


def test_with_an_equal_batch_the_bytes_allow_less_the_shorter_the_texts(study):
    for name in VARIANTS[1:]:
        gains = [g.by_bytes for g in study.comparison.equal_batch if g.time.variant == name]
        sizes = {g.group_size for g in study.comparison.equal_batch if g.time.variant == name}

        assert gains == sorted(gains)
        assert 1.0 <= gains[0] < gains[-1] < sizes.pop()
    assert {gain.time.batch for gain in study.comparison.equal_batch} == {2}


def test_conversion_tells_all_four_losses(study):
    conversion = study.conversion

    assert conversion.before == pytest.approx(study.trained[0].losses[0])
    assert [row.variant for row in conversion.rows] == VARIANTS[1:]
    for row, trained in zip(conversion.rows, study.trained[1:], strict=True):
        assert row.from_scratch == trained.losses[0]
        assert row.up_trained < row.pooled  # of an almost random model every step makes more
        assert row.n_parameters < trained.n_parameters


def test_the_window_study_covers_contexts_and_positions(study, tiny):
    held = {
        (time.window, time.context): time.kv_held_bytes / time.batch for time in study.window.decode
    }
    plain, cut, windowed = study.window.by_position

    assert held[None, 256] == 256 * 256
    assert held[64, 256] <= 80 * 256
    assert (plain.window, cut.window, windowed.window) == (None, 8, 8)
    assert len(plain.losses) == len(plain.positions) == 16
    # The same model, so it says the same as long as the window holds all there is.
    assert plain.losses[0] == pytest.approx(cut.losses[0], rel=1e-6)
    assert plain.losses[-1] != cut.losses[-1]
    assert plain.losses[0] != windowed.losses[0]


def test_figures_can_be_read_by_programs(study, tmp_path):
    write_json(study, tmp_path / "results.json")

    raw = json.loads((tmp_path / "results.json").read_text())
    assert [row["variant"] for row in raw["table"]] == VARIANTS
    assert raw["machine"]["cpu"]
    assert raw["comparison"]["equal_memory"][0]["time"]["step_s"] > 0


def test_each_picture_is_svg_that_takes_its_colours_from_the_page(pictures):
    assert len(pictures) == 10
    for svg in pictures.values():
        root = ET.fromstring(svg)  # noqa: S314 - our own
        assert root.tag.endswith("svg")
        assert "viewBox" in root.attrib
        assert "currentColor" in svg
        assert "prefers-color-scheme:dark" in svg


def test_the_report_stands_alone(study, pictures, tmp_path):
    file = write_report(study, pictures, tmp_path)

    page = file.read_text()
    assert page.count("<svg") == 10
    # Nothing is loaded from elsewhere; names of XML namespaces are no addresses.
    assert not re.findall(r'(?:src|href)="(?!#)[^"]+"', page)
    assert "$" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert {f.stem for f in (tmp_path / "pictures").iterdir()} == set(pictures)


def test_the_report_says_what_was_measured(study, pictures):
    page = report(study, pictures)

    assert headline(study).startswith("GQA-4 writes ")
    assert headline(study) in page
    assert verdict(study).replace("'", "&#x27;") in page
    for row in study.table():
        assert f"{row.loss:.3f}" in page
