"""The gains that memory traffic alone allows, against figures worked out by hand."""

from dataclasses import replace

import pytest

from sirocco.kvcache.format import FLOAT16
from sirocco.lab.arithmetic import equal_batch_gain, equal_memory_gain, largest_batch
from sirocco.model.presets import preset
from sirocco.plan.needs import Needs

GQA = Needs(replace(preset("mistral-7b"), window=None), "bfloat16", FLOAT16)
# The same size: what 24 more KV heads take is missing from the feed-forward.
MHA = Needs(replace(GQA.shape, n_kv_heads=32, hidden_dim=14_336 - 2048), "bfloat16", FLOAT16)


@pytest.mark.parametrize(
    ("batch", "context", "gain"), [(1, 2048, 1.05), (32, 2048, 2.1), (128, 4096, 3.5)]
)
def test_at_equal_batch_the_weights_hide_most_of_the_gain_of_small_batches(batch, context, gain):
    assert equal_batch_gain(MHA, GQA, batch=batch, context=context) == pytest.approx(gain, rel=0.03)


def test_at_equal_memory_four_times_the_batch_gives_four_times_the_tokens():
    memory = 80e9
    batches = [largest_batch(needs, memory, 2048) for needs in (MHA, GQA)]

    assert batches == [74, 298]
    gain = equal_memory_gain(MHA, GQA, base_batch=batches[0], other_batch=batches[1], context=2048)
    assert gain == pytest.approx(4.0, rel=0.02)


def test_a_network_gains_nothing_over_itself():
    assert equal_batch_gain(GQA, GQA, batch=7, context=100) == 1.0
