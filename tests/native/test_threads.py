"""The threads that kernels share."""

import pytest

from sirocco import native


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    before = native.n_threads()
    yield
    native.set_n_threads(before)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_as_many_threads_work_as_were_asked_for(n):
    native.set_n_threads(n)

    assert native.n_threads() == n


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_thread_are_refused(n):
    with pytest.raises(ValueError, match=f"at least 1, got {n}"):
        native.set_n_threads(n)
