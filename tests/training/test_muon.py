"""Muon: every direction of a matrix moves by the same amount."""

import pytest
import torch

from sirocco.training.muon import Muon, orthogonalized


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))

    result = orthogonalized(matrices)

    values = torch.linalg.svdvals(result)
    assert values.min() > 0.5
    assert values.max() < 1.4
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ result @ vh.mT  # diagonal if the singular vectors are the same
    off_diagonal = turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 1e-4


def test_matrices_of_one_shape_move_as_they_would_alone():
    values = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2))
    together = [torch.nn.Parameter(v.clone()) for v in values]
    alone = [torch.nn.Parameter(v.clone()) for v in values]
    optimizers = [Muon(together, lr=0.1, weight_decay=0.1)]
    optimizers += [Muon([p], lr=0.1, weight_decay=0.1) for p in alone]

    for _ in range(3):
        for parameter in (*together, *alone):
            parameter.grad = parameter.detach().sin()
        for optimizer in optimizers:
            optimizer.step()

    torch.testing.assert_close(together, alone)


def test_it_finds_the_least_of_a_bowl():
    goal = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    parameter = torch.nn.Parameter(torch.zeros(6, 4))
    optimizer = Muon([parameter], lr=0.5, weight_decay=0.0)

    for step in range(100):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - step / 100)
        optimizer.zero_grad()
        ((parameter - goal) ** 2).sum().backward()
        optimizer.step()

    assert (parameter - goal).abs().max() < 0.1


def test_a_matrix_without_a_gradient_stays():
    parameter = torch.nn.Parameter(torch.ones(3, 3))

    Muon([parameter], lr=0.1, weight_decay=0.1).step()

    assert torch.equal(parameter, torch.ones(3, 3))


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="no closure"):
        Muon([torch.nn.Parameter(torch.ones(2, 2))], lr=0.1, weight_decay=0.0).step(lambda: 0.0)
