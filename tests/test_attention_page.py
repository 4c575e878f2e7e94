"""docs/attention.md prints what it says: its code is run from top to bottom, in one session."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "attention.md"
_STEP = re.compile(
    r"^```python\n(?P<code>.*?)^```\n\n```text\n(?P<printed>.*?)^```$", re.MULTILINE | re.DOTALL
)
STEPS = [step.groupdict() for step in _STEP.finditer(PAGE.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def session() -> dict[str, object]:
    """Names that the steps before have made."""
    return {"__name__": "page"}


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_each_step_prints_what_stands_below_it(session, number):
    """A step goes on from those before it, so run the whole file, not one case of it."""
    step, printed = STEPS[number], StringIO()

    with redirect_stdout(printed):
        exec(compile(step["code"], f"{PAGE.name}, step {number}", "exec"), session)  # noqa: S102

    assert printed.getvalue() == step["printed"]


def test_every_block_of_code_is_run():
    assert len(STEPS) == PAGE.read_text(encoding="utf-8").count("```python") > 10
