"""A server for the script: the one that was named, the one that runs here, or a new one."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from sirocco.errors import ConfigError, SetupError
from sirocco.worker.guardian import Guardian

_PATIENCE_S = 5.0
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_LISTENS = re.compile(r"is listening on (http://\S+)")


def is_live(url: str) -> bool:
    """Whether a Sirocco server answers there."""
    try:
        answer = httpx.get(f"{url}/health/live", timeout=_PATIENCE_S, trust_env=False)
        return answer.status_code == 200 and answer.json() == {"status": "live"}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


def require_access(url: str, api_token: str, account_id: str | None) -> None:
    """Make sure that the server takes the API token, for this account if one is named.

    Raises: ConfigError.
    """
    path = "/ai-api" if account_id is None else f"/client/v4/accounts/{account_id}/ai"
    headers = {"Authorization": f"Bearer {api_token}"}
    try:
        answer = httpx.get(
            f"{url}{path}/models/search?per_page=1", headers=headers, timeout=_PATIENCE_S,
            trust_env=False,
        )  # fmt: skip
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise ConfigError(f"the server {url} does not answer: {error}") from error
    if answer.status_code != 200:
        of_account = f" of account {account_id}" if account_id else ""
        raise ConfigError(
            f"the server {url} does not take this API token{of_account} "
            f"(status {answer.status_code}): give --server and --token of one server"
        )


@contextmanager
def started_server() -> Iterator[str]:
    """Run `sirocco serve --stand-in` on a free port for as long as a `with` lasts; give its URL.

    Raises: SetupError.
    """
    quiet = {"SIROCCO_LOG_LEVEL": os.environ.get("SIROCCO_LOG_LEVEL") or "warning"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from sirocco.cli.main import run; run()", "serve", "--stand-in",
         "--host", "127.0.0.1", "--port", "0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=os.environ | quiet,
    )  # fmt: skip
    guardian = Guardian(process.pid, signal.SIGTERM)
    too_late = threading.Timer(_START_TIMEOUT_S, process.kill)
    too_late.start()
    try:
        assert process.stdout is not None
        found = next(filter(None, map(_LISTENS.search, process.stdout)), None)
        too_late.cancel()
        if found is None:
            raise SetupError("`sirocco serve` did not start")
        yield found[1]
    finally:
        too_late.cancel()
        guardian.dismiss()
        _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.terminate()  # the second one does not wait for answers: their script is gone
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
