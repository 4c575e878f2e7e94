"""Your own Workers AI: a serverless LLM inference platform with an engine of its own."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sirocco.llm import LLM
    from sirocco.types import SamplingParams

__all__ = ["LLM", "SamplingParams", "__version__"]

try:
    __version__ = metadata.version("sirocco")
except metadata.PackageNotFoundError:  # run from its sources without being installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and `sirocco --help` needs none of it."""
    if name == "LLM":
        from sirocco.llm import LLM  # noqa: PLC0415

        return LLM
    if name == "SamplingParams":
        from sirocco.types import SamplingParams  # noqa: PLC0415

        return SamplingParams
    raise AttributeError(f"module 'sirocco' has no attribute {name!r}")
