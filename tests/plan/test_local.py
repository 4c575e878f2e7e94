"""This machine as hardware."""

import json
import subprocess
import sys

import pytest

from sirocco.errors import BackendUnavailable
from sirocco.plan import local, measuring

FIGURES = {
    "read_bytes_per_s": 2e10, "operations_per_s": {"q4": 2e11}, "attention_operations_per_s": 3e10,
    "threads": 2, "isa": "avx2",
}  # fmt: skip


def test_what_was_measured_is_read_again_without_measuring(tmp_path):
    (tmp_path / local.FILE_NAME).write_text(json.dumps(FIGURES))

    machine = local.read_local(tmp_path)

    assert machine is not None
    assert (machine.id, machine.read_bytes_per_s, machine.share) == ("local", 2e10, 1.0)
    assert machine.rate("q4") == 2e11
    assert "avx2, 2 threads" in machine.name


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
    monkeypatch.setattr(measuring, "_SIDE", 128)
    monkeypatch.setattr(measuring, "_BYTES", 1e5)
    monkeypatch.setattr(measuring, "_CONTEXT", 32)
    monkeypatch.setattr(measuring, "_PATIENCE_S", 0.0)

    figures = measuring.measured()

    assert set(figures["operations_per_s"]) == {"float32", "q8", "q4"}
    assert figures["read_bytes_per_s"] > 0
    assert figures["attention_operations_per_s"] > 0
