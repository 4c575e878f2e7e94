"""One file, byte after byte: it goes on where it was cut off, and is whole or not there.

Beside NAME stands NAME.part while its bytes come; it gets its name when its checksum is right.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from sirocco.errors import HubError
from sirocco.hub.listing import Hub, HubFile, Listing

_ATTEMPTS = 5
_TIMEOUT_S = 60.0
_LATER = (408, 425, 429, 500, 502, 503, 504)


class _Broken(Exception):
    """The connection ended too early; the next attempt may go on."""


class Downloader:
    """Brings files of a repository into a folder.

    Args:
        advanced: told how many bytes came; a negative number takes some back.
        pause_s: before a second attempt; twice as long before the third, and so on. An attempt
            that brought bytes does not count.
    """

    def __init__(
        self,
        hub: Hub,
        listing: Listing,
        folder: Path,
        advanced: Callable[[int], None],
        *,
        pause_s: float = 1.0,
    ) -> None:
        self._hub, self._listing, self._folder = hub, listing, folder
        self._advanced, self._pause_s = advanced, pause_s
        self._http = httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._http.close()

    def bring(self, file: HubFile) -> None:
        """Bring a file, unless it is there.

        Raises: HubError if it does not come, or is not what the hub listed.
        """
        done, part = self._folder / file.name, part_of(self._folder, file)
        if done.exists():
            return
        n_failures = 0
        while not part.exists() or part.stat().st_size != file.n_bytes:
            had = _size(part)
            try:
                self._fetch_rest(file, part)
            except (_Broken, httpx.TransportError) as error:
                n_failures = 0 if _size(part) > had else n_failures + 1
                if n_failures == _ATTEMPTS:
                    raise self._does_not_come(file, error) from error
                time.sleep(self._pause_s * 2 ** max(0, n_failures - 1))
            except httpx.HTTPError as error:
                raise self._does_not_come(file, error) from error
        self._accept(file, part, done)

    def _fetch_rest(self, file: HubFile, part: Path) -> None:
        had = _size(part)
        headers = {**self._hub.headers, "accept-encoding": "identity"}
        if had:
            headers["range"] = f"bytes={had}-"
        # A redirect leads to a storage host; httpx does not tell our token to another one.
        with self._http.stream("GET", self._url(file), headers=headers) as response:
            self._require_success(response, file)
            if response.status_code == 206 and _first_byte(response) == had:
                self._append(response, file, part)
                return
            # The hub begins anew, or with something that we did not ask for.
            self._forget(part)
            if response.status_code != 200:
                raise _Broken(f"the hub answered {response.status_code} to {headers.get('range')}")
            self._append(response, file, part)

    def _url(self, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url  # noqa: PLC0415 - slow to import

        return hf_hub_url(
            self._listing.repo,
            file.name,
            revision=self._listing.commit,
            endpoint=self._hub.endpoint,
        )

    def _require_success(self, response: httpx.Response, file: HubFile) -> None:
        status = response.status_code
        if status in (200, 206, 416):
            return
        if status in (401, 403):
            raise self._hub.refusal(self._listing.repo)
        if status in _LATER:
            raise _Broken(f"the hub answered {status}")
        raise self._error(f"the hub answered {status} when asked for {file.name}")

    def _append(self, response: httpx.Response, file: HubFile, part: Path) -> None:
        n_bytes = _size(part)
        with part.open("ab") as out:
            for chunk in response.iter_bytes():  # as they come: what is collected can be lost
                n_bytes += len(chunk)
                if n_bytes > file.n_bytes:
                    part.unlink()
                    raise self._error(f"{file.name} has more bytes than the hub listed")
                out.write(chunk)
                self._advanced(len(chunk))
        if n_bytes < file.n_bytes:
            raise _Broken(f"it ended at byte {n_bytes} of {file.n_bytes}")

    def _accept(self, file: HubFile, part: Path, done: Path) -> None:
        """Give a whole file its name; throw one away that is not what was listed."""
        if not _is_right(file, part):
            part.unlink()
            raise self._error(
                f"{file.name} does not have the checksum that the hub lists; it was thrown away: "
                f"pull again"
            )
        part.rename(done)

    def _forget(self, part: Path) -> None:
        self._advanced(-_size(part))
        part.unlink(missing_ok=True)

    def _does_not_come(self, file: HubFile, error: Exception) -> HubError:
        n_bytes = _size(part_of(self._folder, file))
        return self._error(
            f"{file.name} does not come: {error or type(error).__name__}; pull again to go on "
            f"from byte {n_bytes} of {file.n_bytes}"
        )

    def _error(self, text: str) -> HubError:
        return HubError(f"{self._listing.repo}: {text}")


def part_of(folder: Path, file: HubFile) -> Path:
    """Name the file that holds what came so far."""
    return folder / f"{file.name}.part"


def _is_right(file: HubFile, part: Path) -> bool:
    """Compare with the checksum that was listed, and bring the bytes safely onto the disk."""
    with part.open("rb+") as data:
        os.fsync(data.fileno())
        if file.sha256 is not None:
            return hashlib.file_digest(data, "sha256").hexdigest() == file.sha256
        digest = hashlib.sha1(b"blob %d\0" % file.n_bytes, usedforsecurity=False)  # as git does
        digest.update(data.read())
        return digest.hexdigest() == file.git_sha1


def _first_byte(response: httpx.Response) -> int | None:
    text = str(response.headers.get("content-range", ""))
    first = text.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() and len(first) < 20 else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
