"""Your own Workers AI: a serverless LLM inference platform with an engine of its own."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sirocco.client import AI, AIError, AsyncAI
    from sirocco.llm import LLM
    from sirocco.types import SamplingParams

__all__ = ["AI", "LLM", "AIError", "AsyncAI", "SamplingParams", "__version__"]

_ROOMS = {
    "AI": "sirocco.client",
    "AIError": "sirocco.client",
    "AsyncAI": "sirocco.client",
    "LLM": "sirocco.llm",
    "SamplingParams": "sirocco.types",
}

try:
    __version__ = metadata.version("sirocco")
except metadata.PackageNotFoundError:  # run from its sources without being installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and `sirocco --help` needs none of it."""
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'sirocco' has no attribute {name!r}")
