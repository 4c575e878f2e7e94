"""Schemathesis reads the API's own description, and looks for an answer that it does not tell of.

It makes requests that the description allows and ones that it forbids, and compares status,
content type, headers and body of each answer with what is described.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.api.conftest import MODEL

ST = Path(sys.executable).parent / "st"
HOOKS = Path(__file__).parent / "hooks.py"

EXCLUDED = {
    "ignored_auth": "the public service says 400 with 9106 where the header is missing, not 401",
    "missing_required_header": "the same",
    "positive_data_acceptance": "no schema says which models there are, which schemas a grammar "
    "can be compiled from, or how many tokens a text has",
}
"""Checks that are left out, each with its reason."""

CONFIG = """
hooks = "{hooks}"

[parameters]
"path.account_id" = "{account_id}"
"path.model_id" = "{model_id}"
"query.model" = "{model_id}"
"""


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    with serve(
        tmp_path_factory.mktemp("home"), max_running=4, max_waiting=4, max_seq_len=48
    ) as running:
        assert running.run({"prompt": "x", "max_tokens": 1}).status_code == 200
        yield running


def run(server, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "schemathesis.toml").write_text(
        CONFIG.format(hooks=HOOKS, account_id=server.account_id, model_id=MODEL)
    )
    done = subprocess.run(
        [ST, "run", f"{server.url}/openapi.json", "-H", f"Authorization: Bearer {server.secret}",
         "--exclude-checks", ",".join(EXCLUDED), "--no-shrink", "--no-color", "--seed", "1",
         "--continue-on-failure", "--warnings", "off", "--generation-database", "none", *options],
        cwd=folder, env={**os.environ, "FUZZED_MODEL": MODEL},
        capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    counted = re.search(r"Test cases:\n\s*(.+)", done.stdout)
    sys.stderr.write(f"{' '.join(options)}: {counted[1] if counted else 'no count'}\n")
    return done


@pytest.mark.timeout(3600)
def test_every_answer_is_one_that_is_described(server, tmp_path, is_nightly):
    n_examples = 100 if is_nightly else 3

    done = run(server, tmp_path, "--phases", "fuzzing", "-n", str(n_examples))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 27" in done.stdout


@pytest.mark.timeout(3600)
def test_the_edges_of_what_is_described_hold(server, tmp_path, is_nightly):
    """Least and most, too many, absent, of another type, and every method that is not there."""
    some = [] if is_nightly else ["--include-path-regex", "/ai/inspect|/ai/plan|/user|/health"]

    done = run(server, tmp_path, "--phases", "coverage", *some)

    assert done.returncode == 0, done.stdout + done.stderr
