"""The tiny server of `tests/api`, for whoever sends it what nobody would."""

from tests.api.conftest import checkpoint, serve

__all__ = ["checkpoint", "serve"]
