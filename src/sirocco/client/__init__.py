"""A client for scripts: ask a Sirocco server, or anything else that speaks its REST API.

The room knows HTTP and the wire format; it knows no engine, no torch and no server of ours.
"""

from sirocco.client.ai import AI, Events
from sirocco.client.async_ai import AsyncAI, AsyncEvents
from sirocco.client.errors import (
    AIAuthError,
    AIConnectionError,
    AIError,
    AIInputError,
    AILimitError,
    AIProtocolError,
    AIRefused,
    AIServerError,
    AIStreamError,
    AITimeout,
)

__all__ = [
    "AI",
    "AIAuthError",
    "AIConnectionError",
    "AIError",
    "AIInputError",
    "AILimitError",
    "AIProtocolError",
    "AIRefused",
    "AIServerError",
    "AIStreamError",
    "AITimeout",
    "AsyncAI",
    "AsyncEvents",
    "Events",
]
