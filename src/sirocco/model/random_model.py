"""Networks of a shape with random weights: for tests, benchmarks, and the start of training."""

import torch

from sirocco.model.config import ModelConfig
from sirocco.model.linear import PLAIN, WeightFormat, place
from sirocco.model.transformer import Transformer, random_weight


def random_model(
    config: ModelConfig,
    *,
    seed: int = 0,
    weights: WeightFormat = PLAIN,
    device: torch.device | str = "cpu",
) -> Transformer:
    """Make a network of this shape with small random weights; the same seed gives the same ones.

    One parameter after the other is drawn and rounded, so a large network needs no more memory
    than it will take.
    """
    with torch.device("meta"):
        model = Transformer(config)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in list(model.named_parameters()):
        place(model, name, random_weight(config, name, parameter.shape, generator), weights)
    return model.eval()
