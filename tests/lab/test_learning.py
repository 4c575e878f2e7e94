import torch

from sirocco.lab.learning import Lesson, learn
from sirocco.lab.texts import read_texts
from sirocco.lab.variants import variants_of
from sirocco.model.random_model import random_model


def test_a_model_learns_and_the_seed_repeats_it(tiny, tmp_path):
    texts = read_texts(None, vocab_size=300, work=tmp_path)
    shape = variants_of(tiny.quality.shape)[2].shape

    def trained(seed):
        model = random_model(shape, seed=1)
        losses = learn(model, texts.learnt, Lesson(30, 32, 4, 5e-3), seed=seed)
        return losses, torch.cat([p.flatten() for p in model.parameters()])

    losses, weights = trained(7)

    assert len(losses) == 30
    assert losses[-1] < losses[0] - 0.5
    again = trained(7)
    assert again[0] == losses
    assert torch.equal(again[1], weights)
    assert trained(8)[0] != losses
