import pytest

from sirocco.lab.size import full, quick
from sirocco.lab.variants import name_of, variants_of
from sirocco.model.config import ModelConfig


@pytest.mark.parametrize("size", [quick(), full()], ids=["quick", "full"])
@pytest.mark.parametrize("part", ["quality", "decode"])
def test_variants_have_as_many_parameters_as_mha(size, part):
    shape = getattr(size, part).shape

    mha, *others = [variant.shape for variant in variants_of(shape, multiple_of=32)]

    assert [other.n_kv_heads for other in others] == [8, 4, 2, 1]
    for other in others:
        assert other.hidden_dim % 32 == 0
        # At most half of what a feed-forward 32 channels wider takes, in each layer.
        assert abs(other.n_parameters - mha.n_parameters) <= shape.n_layers * 3 * shape.dim * 16


def test_variants_are_named_as_in_the_papers():
    shape = ModelConfig(
        vocab_size=8, dim=8, n_layers=1, n_heads=12, n_kv_heads=3, head_dim=2, hidden_dim=8
    )

    assert [v.name for v in variants_of(shape)] == ["MHA", "GQA-4", "GQA-2", "MQA"]
    assert variants_of(shape)[0].shape.n_kv_heads == 12
    assert name_of(1, 1) == "MHA"
