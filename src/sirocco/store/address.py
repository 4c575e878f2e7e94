"""Where the database is: a URL that is understood, and what of it may be shown."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from sirocco.errors import ConfigError

HIDDEN = "***"

_HARMLESS = {
    "host", "port", "user", "dbname", "sslmode", "application_name", "connect_timeout", "options",
    "mode", "cache", "timeout",
}  # fmt: skip
"""Parts of a URL's query that may be shown. All others may not: a password may be misspelt."""

_POSTGRESQL_NAMES = ("postgresql", "postgres")
"""Names without a driver, as hosts of databases write them; ours is psycopg."""


def parse_url(url: str) -> URL:
    """Understand an SQLAlchemy URL. Raises: ConfigError; its text repeats nothing of the URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text may hold a password, so neither it nor its cause is shown.
        raise ConfigError("the database URL is not of the form sqlite:///FILE") from None
    in_memory = parsed.database in (None, "", ":memory:") or "mode=memory" in str(parsed)
    if parsed.get_backend_name() == "sqlite" and in_memory:
        raise ConfigError("the database URL must name a file: one in memory forgets its accounts")
    if parsed.drivername in _POSTGRESQL_NAMES:
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def shown_url(url: URL) -> str:
    """Write the URL without its password, wherever it stands in it."""
    secrets = {name: HIDDEN for name in url.query if name not in _HARMLESS}
    return url.update_query_dict(secrets).render_as_string(hide_password=True)


def without_secrets(text: str, url: URL) -> str:
    """Take the URL's secrets out of a text by somebody else, a driver's complaint for example."""
    secrets = [url.password, *_values(url)]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(str(secret), HIDDEN)
    return text


def _values(url: URL) -> list[str]:
    found: list[str] = []
    for name, value in url.query.items():
        if name not in _HARMLESS:
            found += [value] if isinstance(value, str) else value
    return found
