"""Where a client's requests go, and as whom."""

import os
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from sirocco.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8787"
_API_PREFIX = "/client/v4"


@dataclass(frozen=True, slots=True)
class Address:
    """A server, an account of it, and the API token of that account."""

    base_url: str
    account_id: str
    api_token: str

    @classmethod
    def resolve(
        cls, base_url: str | None, account_id: str | None, api_token: str | None
    ) -> "Address":
        """Fill what is None from SIROCCO_URL, SIROCCO_ACCOUNT_ID and SIROCCO_API_TOKEN.

        Raises: ConfigError naming what is missing or wrong.
        """
        url = base_url or os.environ.get("SIROCCO_URL") or DEFAULT_URL
        return cls(
            _without_prefix(url),
            _required(account_id, "account_id", "SIROCCO_ACCOUNT_ID"),
            _required(api_token, "api_token", "SIROCCO_API_TOKEN"),
        )

    @property
    def headers(self) -> dict[str, str]:
        """The credentials."""
        return {"authorization": f"Bearer {self.api_token}"}

    def of(self, *path: str) -> str:
        """Address of something under `…/ai`; slashes of a model id stay as they are."""
        account = quote(self.account_id, safe="")
        rest = "/".join(quote(step, safe="@/") for step in path)
        return f"{self.base_url}{_API_PREFIX}/accounts/{account}/ai/{rest}"

    def __repr__(self) -> str:
        return f"Address({self.base_url!r}, {self.account_id!r}, api_token=…)"


def _without_prefix(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reads the number
    except ValueError as error:
        raise ConfigError(f"base_url cannot be read: {error}, got {url!r}") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"base_url must begin with http:// or https://, got {url!r}")
    return url.rstrip("/").removesuffix(_API_PREFIX)


def _required(given: str | None, name: str, variable: str) -> str:
    value = given or os.environ.get(variable)
    if not value:
        raise ConfigError(f"{name} is missing: pass it, or set {variable}")
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(f"{name} must be printable ASCII")
    return value
