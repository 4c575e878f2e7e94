"""`sirocco doctor`: what is here, and which kernels run."""

import json

import torch

from sirocco import native


def test_the_kernels_in_use_are_named_with_the_reason(sirocco):
    findings = json.loads(sirocco("doctor", "--json").out)

    assert findings["kernels"].startswith(f"{native.isas()[0]}, the fastest")
    assert findings["kernel threads"] == native.n_threads()
    assert findings["models here"] == ["@sirocco/breeze-instruct"]


def test_it_says_what_of_the_engine_for_gpus_is_here(sirocco, monkeypatch):
    """With a card as torch would tell of it."""
    without = json.loads(sirocco("doctor", "--json").out)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _=None: "NVIDIA L40S")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _=None: (8, 9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (30 * 2**30, 45 * 2**30))

    findings = json.loads(sirocco("doctor", "--json").out)

    assert without["GPU"] == "torch finds none"
    assert findings["GPU"] == ["NVIDIA L40S, compute capability 8.9; 30.0 of 45.0 GiB free"] * 2
    assert findings["GPU weights"] == ["bfloat16", "fp8", "int4"]
    assert [line.split()[0] for line in findings["GPU attention"]] == [
        "triton", "flashinfer-python",
    ]  # fmt: skip


def test_it_can_be_read_by_people(sirocco):
    lines = sirocco("doctor").out.splitlines()

    assert any(line.startswith("kernels ") for line in lines)
    assert any(line.startswith("torch ") for line in lines)
