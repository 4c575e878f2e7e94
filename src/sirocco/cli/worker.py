"""`sirocco worker`: a Worker script in Cloudflare's own runtime, with our models."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.worker.dev import Upstream

worker = typer.Typer(
    name="worker", help="Worker scripts in the real Workers runtime.", no_args_is_help=True
)

_TOKEN_VARIABLE = "SIROCCO_API_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_LASTS = timedelta(days=7)


@worker.command()
def dev(
    script: Annotated[
        Path, typer.Argument(help="A script, or a folder with wrangler.toml or wrangler.jsonc.")
    ] = Path(),
    environment: Annotated[
        str | None,
        typer.Option(
            "--env",
            "-e",
            envvar="CLOUDFLARE_ENV",
            help="Environment of wrangler's file: its section env.NAME.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8788,
    server: Annotated[
        str | None,
        typer.Option(help="URL of the server (default: the one that runs here, or a new one)."),
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="Account id that the API token must be of.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help=f"API token of --server (default: ${_TOKEN_VARIABLE}).")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Run the script anew when it changes.")
    ] = True,
) -> None:
    """Run a script, its env.AI answered by a server of yours, until Ctrl-C."""
    from sirocco.cli.serve import _listen  # noqa: PLC0415 - not needed for --help
    from sirocco.home import default_home  # noqa: PLC0415
    from sirocco.worker.dev import Dev  # noqa: PLC0415
    from sirocco.worker.project import read_project  # noqa: PLC0415
    from sirocco.worker.tools import installed_tools  # noqa: PLC0415

    # Before anything is installed or started. As with wrangler, an empty name is the top level.
    name = read_project(script, environment or None).name or script
    _end_in_order()
    with ExitStack() as stack:
        listening = stack.enter_context(_listen("127.0.0.1", port))
        tools = installed_tools(default_home(), _say)
        upstream = stack.enter_context(_upstream(server, account, token))
        _say(f"http://127.0.0.1:{listening.getsockname()[1]} runs {name}; "
             f"env.AI asks {upstream.url}. Ctrl-C ends it.")  # fmt: skip
        try:
            Dev(
                script, tools, upstream, listening, say=_say, complain=_complain,
                environment=environment or None,
            ).run(watch=watch)  # fmt: skip
        except KeyboardInterrupt:
            _say("")


@worker.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write it into.")] = Path("my-worker"),
) -> None:
    """Write a small project to begin with."""
    from sirocco.worker.example import write_example  # noqa: PLC0415

    for file in write_example(folder):
        print(file)
    print(f"\nRun it: sirocco worker dev {folder}")


@contextmanager
def _upstream(server: str | None, account: str | None, token: str | None) -> Iterator["Upstream"]:
    """Find or start the server. Raises: SiroccoError."""
    from sirocco.worker.dev import Upstream  # noqa: PLC0415
    from sirocco.worker.server import require_access  # noqa: PLC0415

    if server is None:
        if account is not None or token is not None:
            raise ConfigError("--account and --token are of a server: name it with --server")
        with _own_upstream() as found:
            yield found
        return
    secret = token or os.environ.get(_TOKEN_VARIABLE)
    if not secret:
        raise ConfigError(f"--server needs --token, or {_TOKEN_VARIABLE} in the environment")
    url = server.rstrip("/")
    require_access(url, secret, account)
    yield Upstream(url, secret)


@contextmanager
def _own_upstream() -> Iterator["Upstream"]:
    """Use the server of this machine, or start one; with an API token that lasts as long."""
    from sirocco.cli.stores import opened_stores  # noqa: PLC0415
    from sirocco.settings import load_settings  # noqa: PLC0415
    from sirocco.worker.dev import Upstream  # noqa: PLC0415
    from sirocco.worker.server import is_live, require_access, started_server  # noqa: PLC0415

    with ExitStack() as stack:
        stores = stack.enter_context(opened_stores())
        # Before a server is started: it would make an API token that nobody gets to see.
        known = stores.accounts.all()
        account_id = (known[0] if known else stores.accounts.create("default")).id
        url = f"http://127.0.0.1:{load_settings().port}"
        if not is_live(url):
            _say("No server runs here: starting one, with --stand-in.")
            url = stack.enter_context(started_server())
        secret, made = stores.api_tokens.create(
            account_id, name="sirocco worker dev", expires_at=datetime.now(UTC) + _TOKEN_LASTS
        )
        stack.callback(stores.api_tokens.revoke, made.id, account_id)
        require_access(url, secret, account_id)
        yield Upstream(url, secret)


def _end_in_order() -> None:
    """Let SIGTERM and a closed terminal stop what was started, as Ctrl-C does.

    A shell that starts a command behind its back lets it ignore Ctrl-C's signal; we do not.
    """

    def leave(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _say(text: str) -> None:
    print(text, flush=True)


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
