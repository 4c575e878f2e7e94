"""Where Sirocco keeps its state, unless told otherwise."""

import os
from pathlib import Path

from platformdirs import user_data_path


def default_home() -> Path:
    """SIROCCO_HOME, or the platform's data folder."""
    named = os.environ.get("SIROCCO_HOME")
    return Path(named).expanduser() if named else user_data_path("sirocco")
