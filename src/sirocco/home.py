"""Where Sirocco keeps its state, unless told otherwise."""

import os
from pathlib import Path

from platformdirs import user_data_path


def default_home() -> Path:
    """SIROCCO_HOME, or the platform's data folder."""
    named = os.environ.get("SIROCCO_HOME")
    return expanded(Path(named)) if named else user_data_path("sirocco")


def expanded(path: Path) -> Path:
    """Replace a leading `~` or `~user`. Raises: ValueError if there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} has no folder: {error}") from error
