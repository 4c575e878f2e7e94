"""Whether checkpoint folders can be loaded, found out in a process that ends afterwards.

To look at weights takes torch, which is slow to import and large, and which the process that
asks may have no other use for.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from sirocco.engine.process.messages import ErrorText, error_of, error_text
from sirocco.errors import SetupError


def check_folders(folders: Iterable[Path]) -> None:
    """Refuse folders that no engine could load, without reading their weights.

    Raises: SetupError in one sentence for the first of them.
    """
    named = [str(folder) for folder in folders]
    if not named:
        return
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "sirocco.engine.check", *named],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    if done.stdout:
        raise error_of(msgspec.json.decode(done.stdout, type=ErrorText))
    if done.returncode:
        raise SetupError(f"the look at {', '.join(named)} ended with status {done.returncode}")


def main(folders: Iterable[str]) -> None:
    """Look at folders; write the first one's error to stdout."""
    from sirocco.engine.loading import check_loadable  # noqa: PLC0415 - it imports torch

    try:
        for folder in folders:
            check_loadable(Path(folder))
    except SetupError as error:
        sys.stdout.buffer.write(msgspec.json.encode(error_text(error)))


if __name__ == "__main__":
    main(sys.argv[1:])
