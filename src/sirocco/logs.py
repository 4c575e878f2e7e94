"""Where log lines go: one line an event, on stderr; readable for people or JSON for programs."""

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["auto", "text", "json"]
"""`auto` is text on a terminal, else JSON."""

_OF_NO_USE = (
    "Unsupported upgrade request.",
    "No supported WebSocket library detected. Please use \"pip install 'uvicorn[standard]'\", "
    "or install 'websockets' or 'wsproto' manually.",
)


def configure_logs(level: str, style: LogFormat) -> None:
    """Send the log lines of Sirocco and its libraries to stderr in one form."""
    is_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(shared, is_text=is_text))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").addFilter(_is_of_use)
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Leave out that miniflare asked for a WebSocket: it does so with each script, in vain."""
    return record.msg not in _OF_NO_USE


def _formatter(
    shared: list[structlog.types.Processor], *, is_text: bool
) -> structlog.stdlib.ProcessorFormatter:
    if is_text:
        rendering: list[structlog.types.Processor] = [
            # Plain: a traceback with the values of its variables would show secrets and prompts.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        rendering = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
