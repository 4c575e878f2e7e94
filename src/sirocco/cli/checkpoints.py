"""What commands that write a checkpoint from another one have in common."""

import shutil
from pathlib import Path

from sirocco.errors import ConfigError

_BESIDE_WEIGHTS = ("tokenizer", "special_tokens", "chat_template", "generation_config")


def check_new(out: Path) -> None:
    """Refuse a folder in which something would be overwritten. Raises: ConfigError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty: name a new folder")


def copy_beside_weights(checkpoint: Path, out: Path) -> None:
    """Copy vocabulary, chat template and generation settings: none concerns weights."""
    for file in checkpoint.iterdir():
        if file.name.startswith(_BESIDE_WEIGHTS) and file.is_file():
            shutil.copy(file, out)
