"""What a repository holds, as its hub tells it."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

from sirocco.errors import HubError

_REPO = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 30.0
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub, and the token that we show to it, if any."""

    endpoint: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def resolve(cls, endpoint: str | None = None) -> "Hub":
        """Fill in HF_ENDPOINT and HF_TOKEN from the environment. Raises: HubError."""
        from huggingface_hub.constants import ENDPOINT  # noqa: PLC0415 - slow to import

        url = (endpoint or os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        if not re.match(r"https?://[^/\s]", url):
            raise HubError(f"the hub's address must begin with http:// or https://, got {url!r}")
        # Only what the environment says: a login that was saved for one hub is not for another.
        return cls(url, os.environ.get("HF_TOKEN", "").strip() or None)

    @property
    def headers(self) -> dict[str, str]:
        """What a download is asked for with."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def refusal(self, repo: str) -> HubError:
        """Say that the hub did not let us in."""
        if self.token is None:
            return HubError(
                f"{repo} is gated or private: accept its terms at {self.endpoint}/{repo}, and set "
                f"HF_TOKEN to a token of the account that did"
            )
        return HubError(
            f"the hub refused HF_TOKEN for {repo}: its account must have accepted the terms at "
            f"{self.endpoint}/{repo}, and the token must be allowed to read it"
        )


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository, and how to know that it arrived whole.

    Attributes:
        sha256: of a large file (LFS); git_sha1 of a small one, as git hashes it.
    """

    name: str
    n_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]


def is_repository_name(name: str) -> bool:
    """Tell whether this can be a repository's name; it becomes a path, here and there."""
    return _REPO.fullmatch(name) is not None and ".." not in name


def list_repository(hub: Hub, repo: str, revision: str | None = None) -> Listing:
    """Ask a hub what a repository holds at a revision, by default its newest.

    Raises: HubError in one sentence.
    """
    if not is_repository_name(repo):
        raise HubError(f"a repository is named OWNER/NAME, got {repo!r}")
    info = _model_info(hub, repo, revision)
    commit = info.sha
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise HubError(f"the hub tells no commit of {repo}, got {commit!r}")
    files = tuple(_file(repo, sibling) for sibling in info.siblings or ())
    return Listing(repo, commit, files)


def _model_info(hub: Hub, repo: str, revision: str | None) -> Any:
    """Translate the library's errors, and those of the HTTP client that it happens to use."""
    from huggingface_hub import HfApi, errors  # noqa: PLC0415 - slow to import

    api = HfApi(endpoint=hub.endpoint, token=hub.token or False)
    try:
        return api.model_info(repo, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)
    except errors.GatedRepoError as error:
        raise hub.refusal(repo) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{hub.endpoint} has no repository {repo}, or it is private and HF_TOKEN "
            f"{'does not open it' if hub.token else 'is not set'}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo} has no revision {revision!r}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise hub.refusal(repo) from error
        raise HubError(f"{hub.endpoint} answered {status} when asked for {repo}") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        raise HubError(f"{hub.endpoint} gave no listing of {repo}: {reason}") from error


def _file(repo: str, sibling: Any) -> HubFile:
    name, lfs = sibling.rfilename, sibling.lfs
    n_bytes = lfs.size if lfs else sibling.size
    if not isinstance(name, str) or not _stays_inside(name):
        raise HubError(f"{repo} lists a file that would leave its folder, {name!r}: not pulled")
    if not isinstance(n_bytes, int) or n_bytes < 0:
        raise HubError(f"the hub tells no size of {name!r} of {repo}")
    if lfs:
        return HubFile(name, n_bytes, sha256=_matching(_SHA256, lfs.sha256))
    return HubFile(name, n_bytes, git_sha1=_matching(_COMMIT, sibling.blob_id))


def _stays_inside(name: str) -> bool:
    is_plain = name.isprintable() and "\\" not in name and ":" not in name
    return is_plain and all(step not in ("", ".", "..") for step in name.split("/"))


def _matching(form: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None
