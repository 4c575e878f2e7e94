"""`sirocco serve`: the platform on this machine, and the words that greet its first user."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.settings import Settings

_UNSENT_BYTES = 32 * 1024
"""Of an answer, which the system keeps for a connection."""


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one (default: 8787).")
    ] = None,
    stand_in: Annotated[
        bool | None,
        typer.Option(
            "--stand-in/--no-stand-in",
            help="Let the embedded model answer for models whose weights are not here.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=FOLDER", help="Serve this checkpoint; may be given many times."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda (default: auto).")] = None,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs that share each model (default: 1).")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="auto, float32, bfloat16, q8, q4, fp8 or int4 (default: auto)."),
    ] = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option(help="Prompt plus output tokens of a request (default: the model's)."),
    ] = None,
    kv_cache_bytes: Annotated[
        int | None,
        typer.Option(help="Size of each model's KV cache (default: fits 8 long answers)."),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(help="Computed by auto, native, triton, flashinfer or sdpa (default: auto)."),
    ] = None,
    kv_format: Annotated[
        str | None,
        typer.Option(
            help="Keys and values as auto, float32, float16, bfloat16, int8 or fp8 (default: auto)."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a CPU kernel (default: one per processor).")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (default: info).")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="auto, text or json (default: auto).")
    ] = None,
) -> None:
    """Serve the Workers AI API. Every option can be set as SIROCCO_NAME, too (--model as the
    JSON object SIROCCO_MODELS).

    On its first start it makes an account and an API token, and prints them.
    """
    from sirocco.settings import load_settings  # noqa: PLC0415 - not needed for --help

    settings = load_settings(
        host=host, port=port, stand_in=stand_in, models=_folders(model), device=device,
        gpus=gpus, weights=weights, max_seq_len=max_seq_len, kv_cache_bytes=kv_cache_bytes,
        attention=attention, kv_format=kv_format, threads=threads, log_level=log_level,
        log_format=log_format,
    )  # fmt: skip
    _run(settings)


def _run(settings: "Settings") -> None:
    import structlog  # noqa: PLC0415

    from sirocco.app import create_app  # noqa: PLC0415
    from sirocco.cli.greeting import greeting, owner_of  # noqa: PLC0415
    from sirocco.cli.server import run_server  # noqa: PLC0415
    from sirocco.engine.check import check_folders  # noqa: PLC0415
    from sirocco.logs import configure_logs  # noqa: PLC0415
    from sirocco.store.stores import open_stores  # noqa: PLC0415

    configure_logs(settings.log_level, settings.log_format)
    log = structlog.get_logger("sirocco")
    stores = open_stores(settings.home, settings.resolved_database_url)
    app = create_app(settings, stores)
    check_folders(settings.models.values())
    listening = _listen(settings.host, settings.port)
    log.debug("settings", **settings.shown())
    if advice := stores.database.advice():
        log.warning(advice)
    owner = owner_of(stores)
    run_server(
        app, listening, settings.shutdown_s,
        on_ready=lambda url: print(greeting(url, owner, settings), flush=True),
    )  # fmt: skip


def _folders(models: list[str] | None) -> dict[str, Path] | None:
    """Read `ID=FOLDER` options. Raises: ConfigError."""
    if not models:
        return None
    folders = {}
    for text in models:
        model_id, equals, folder = text.partition("=")
        if not model_id or not equals or not folder:
            raise ConfigError(f"--model must be ID=FOLDER, got {text!r}")
        folders[model_id] = Path(folder)
    return folders


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything is started. Raises: ConfigError if it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = None
    try:
        # A name that DNS cannot write fails here, where there is no socket yet to be left open.
        socket.getaddrinfo(host or None, port, family)
        # asyncio switches Nagle's delay off only where the protocol is named: without it each
        # small write, an event of a stream say, could wait 40 ms for an acknowledgement.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Connections have this from their listening socket. Without it the system takes
            # megabytes of an answer for a client that does not read.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        listening.bind((host, port))
        listening.listen(2048)
    except (OSError, ValueError) as error:
        if listening is not None:
            listening.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}") from error
    return listening
