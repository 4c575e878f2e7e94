"""This machine as hardware."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from sirocco.errors import BackendUnavailable
from sirocco.plan import local, measuring
from sirocco.plan.hardware import Steps

FIGURES = {
    "read_bytes_per_s": 2e10, "operations_per_s": {"q4": 2e11}, "attention_operations_per_s": 3e10,
    "threads": 2, "isa": "avx2",
    "steps": {
        "weight_s": {"q4": [[1, 3e-11], [4, 4e-11], [64, 4e-10]]},
        "step_s": 1e-3, "layer_s": 1e-5, "sequence_s": 1e-4,
    },
}  # fmt: skip


def test_what_was_measured_is_read_again_without_measuring(tmp_path):
    (tmp_path / local.FILE_NAME).write_text(json.dumps(FIGURES))

    machine = local.read_local(tmp_path)

    assert machine is not None
    assert (machine.id, machine.read_bytes_per_s, machine.share) == ("local", 2e10, 1.0)
    assert machine.rate("q4") == 2e11
    assert "avx2, 2 threads" in machine.name
    assert machine.steps == Steps({"q4": ((1, 3e-11), (4, 4e-11), (64, 4e-10))}, 1e-3, 1e-5, 1e-4)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"threads": 2, "isa": 3}', "no JSON"])
def test_a_broken_file_counts_as_not_measured(tmp_path, text):
    (tmp_path / local.FILE_NAME).write_text(text)

    assert local.read_local(tmp_path) is None
    assert local.read_local(tmp_path / "absent") is None


def test_measuring_keeps_the_figures(tmp_path, monkeypatch):
    def ran(command, **_):
        return subprocess.CompletedProcess(command, 0, json.dumps(FIGURES), "")

    monkeypatch.setattr(subprocess, "run", ran)

    assert local.measure_local(tmp_path / "home") == local.read_local(tmp_path / "home")


def test_a_failure_to_measure_gives_its_reason_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(BackendUnavailable, match="could not be measured"):
        local.measure_local(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_kernels_give_figures_for_every_format(monkeypatch):
    shape = replace(measuring._SHAPE, vocab_size=64, dim=64, hidden_dim=64, head_dim=8, n_heads=8)
    monkeypatch.setattr(measuring, "_SHAPE", shape)
    monkeypatch.setattr(measuring, "_BYTES", 1e5)
    monkeypatch.setattr(measuring, "_CONTEXT", 32)
    monkeypatch.setattr(measuring, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(measuring, "_STEPS", 1)

    figures = measuring.measured()

    assert set(figures["operations_per_s"]) == {"float32", "q8", "q4"}
    assert figures["read_bytes_per_s"] > 0
    assert figures["attention_operations_per_s"] > 0
    steps = figures["steps"]
    assert [n_rows for n_rows, _ in steps["weight_s"]["q4"]] == list(measuring._ROWS)
    assert all(seconds > 0 for of in steps["weight_s"].values() for _, seconds in of)
    assert min(steps["step_s"], steps["layer_s"], steps["sequence_s"]) >= 0


def test_what_was_measured_before_steps_were_is_measured_again(tmp_path):
    older = {name: figure for name, figure in FIGURES.items() if name != "steps"}
    (tmp_path / local.FILE_NAME).write_text(json.dumps(older))

    assert local.read_local(tmp_path) is None
