"""What must never stand in the source, whoever writes it."""

import ast
from pathlib import Path

import pytest

import sirocco

SOURCES = sorted(Path(sirocco.__file__).parent.rglob("*.py"))
UNPICKLERS = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def called_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_there_are_sources_to_look_at():
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_unpickles_or_evaluates(path):
    """Weights, messages and requests are data; none of them may run as code."""
    tree = ast.parse(path.read_text("utf-8"))

    assert not {name.split(".")[0] for name in imported_modules(tree)} & UNPICKLERS
    forbidden = {"torch.load", "eval", "exec", "os.system", "numpy.load", "np.load"}
    assert not set(called_names(tree)) & forbidden
