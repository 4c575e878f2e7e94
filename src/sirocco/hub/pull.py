"""A whole checkpoint: it comes into a folder beside its place, and moves there when it is whole."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sirocco.errors import CheckpointError, HubError
from sirocco.hub.choice import choose_files, is_weights
from sirocco.hub.download import Downloader, part_of
from sirocco.hub.listing import Hub, HubFile, Listing, list_repository

SOURCE_FILE = "sirocco-source.json"
"""Says where a checkpoint came from; it lies in its folder."""

_MARGIN_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint came from."""

    repo: str
    commit: str


@dataclass(frozen=True, slots=True)
class Checks:
    """What a checkpoint must satisfy; both raise CheckpointError.

    Attributes:
        config: asked when all but the weights are there, so that nobody downloads in vain.
        whole: asked at the end.
    """

    config: Callable[[Path], object]
    whole: Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who wants to see how it goes.

    Attributes:
        begun: told the bytes in all, and those that are here already.
        advanced: told the bytes that came.
    """

    begun: Callable[[int, int], None] = lambda _total, _here: None
    advanced: Callable[[int], None] = lambda _n_bytes: None


@dataclass(frozen=True, slots=True)
class Pulled:
    """A checkpoint that is here."""

    source: Source
    n_bytes: int
    file_names: tuple[str, ...] = field(default_factory=tuple)


def pull(
    hub: Hub, repo: str, folder: Path, checks: Checks, *, revision: str | None = None,
    watcher: Watcher | None = None, pause_s: float = 1.0,
) -> Pulled:  # fmt: skip
    """Bring a repository's checkpoint into a folder, which is then either whole or not there.

    A pull that was interrupted goes on where it was, as long as the revision is the same.

    Args:
        folder: must be absent or empty.

    Raises: HubError in one sentence.
    """
    watcher = watcher or Watcher()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HubError(f"{folder} is in the way: it is not empty, and holds no checkpoint")
    listing = list_repository(hub, repo, revision)
    files = choose_files(listing)
    beside = folder.parent / f".{folder.name}.part"
    with _held(beside):
        _begin(beside, Source(repo, listing.commit))
        n_bytes = sum(file.n_bytes for file in files)
        n_here = sum(_n_here(beside, file) for file in files)
        _require_space(beside, n_bytes - n_here)
        watcher.begun(n_bytes, n_here)
        with Downloader(hub, listing, beside, watcher.advanced, pause_s=pause_s) as downloader:
            _fetch(downloader, files, lambda: _check_config(listing, beside, checks))
        _check_whole(listing, beside, checks)
        _finish(beside, folder)
    return Pulled(Source(repo, listing.commit), n_bytes, tuple(file.name for file in files))


def source_of(folder: Path) -> Source | None:
    """Tell where a checkpoint came from; None if it was not pulled."""
    try:
        raw = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        return Source(str(raw["repo"]), str(raw["commit"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


@contextmanager
def _held(beside: Path) -> Iterator[None]:
    """Keep the folder to ourselves, so that two pulls do not write the same file."""
    try:
        beside.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise HubError(f"{beside} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HubError(f"{beside} is being filled by another pull") from error
        yield
    except OSError as error:  # a full disk, no permission
        raise HubError(f"{beside} cannot be written: {error.strerror or error}") from error
    finally:
        os.close(handle)


def _begin(beside: Path, source: Source) -> None:
    """Empty the folder if what is in it came from somewhere else."""
    if source_of(beside) == source:
        return
    for path in beside.iterdir():
        path.unlink()
    (beside / SOURCE_FILE).write_text(json.dumps(asdict(source)) + "\n", encoding="utf-8")


def _n_here(beside: Path, file: HubFile) -> int:
    if (beside / file.name).exists():
        return file.n_bytes
    part = part_of(beside, file)
    return min(part.stat().st_size, file.n_bytes) if part.exists() else 0


def _require_space(beside: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(beside).free
    if n_bytes + _MARGIN_BYTES > free:
        raise HubError(
            f"the disk of {beside.parent} has {free / 1e9:.1f} GB free, and "
            f"{(n_bytes + _MARGIN_BYTES) / 1e9:.1f} GB are needed"
        )


def _fetch(downloader: Downloader, files: list[HubFile], check_config: Callable[[], None]) -> None:
    """Bring the small files, look whether the model can run at all, and bring the weights."""
    for file in files:
        if not is_weights(file):
            downloader.bring(file)
    check_config()
    for file in files:
        downloader.bring(file)


def _check_config(listing: Listing, beside: Path, checks: Checks) -> None:
    try:
        checks.config(beside)
    except CheckpointError as error:
        shutil.rmtree(beside)
        reason = str(error).replace(f"{beside}/", "")
        raise HubError(f"{listing.repo} cannot run on this version of Sirocco: {reason}") from error


def _check_whole(listing: Listing, beside: Path, checks: Checks) -> None:
    try:
        checks.whole(beside)
    except CheckpointError as error:
        reason = str(error).replace(f"{beside}/", "")
        raise HubError(
            f"{listing.repo} cannot run on this version of Sirocco: {reason}; its files are left "
            f"in {beside}"
        ) from error


def _finish(beside: Path, folder: Path) -> None:
    """Put the checkpoint in its place, in one step that a power cut does not halve."""
    _sync(beside)
    beside.rename(folder)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
