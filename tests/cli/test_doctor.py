"""`sirocco doctor`: what is here, and which kernels run."""

import json

from sirocco import native


def test_the_kernels_in_use_are_named_with_the_reason(sirocco):
    findings = json.loads(sirocco("doctor", "--json").out)

    assert findings["kernels"].startswith(f"{native.isas()[0]}, the fastest")
    assert findings["kernel threads"] == native.n_threads()
    assert findings["models here"] == ["@sirocco/breeze-instruct"]


def test_it_can_be_read_by_people(sirocco):
    lines = sirocco("doctor").out.splitlines()

    assert any(line.startswith("kernels ") for line in lines)
    assert any(line.startswith("torch ") for line in lines)
