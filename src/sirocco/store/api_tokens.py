"""API tokens: made, recognised, revoked; and the pepper without which none is recognised.

The secret of an API token is shown once and not kept. What is kept is HMAC-SHA256(pepper,
secret). It is the same for the same secret, so one look-up in an index finds the API token. A
slow hash with salts would make every request slow and protect nothing: it is meant for passwords
that can be guessed, and a secret of 240 random bits cannot. The pepper lies in a file of its own,
so a stolen database alone gives nothing: neither a secret, nor a way to test one, nor a way to
write a row that would let a made-up secret in.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from sqlalchemy import Row, insert, select, update

from sirocco.errors import ConfigError, InvalidInput
from sirocco.store.accounts import Accounts
from sirocco.store.db import Database
from sirocco.store.limits import NO_OWN_LIMITS, Limits
from sirocco.store.scopes import (
    ALL_SCOPES,
    Scope,
    require_scopes,
    scopes_of_text,
    scopes_text,
)
from sirocco.store.tables import accounts, api_tokens, utc_now
from sirocco.store.values import new_id, require_name, require_zone

SECRET_FORMAT = re.compile(r"\A[A-Za-z0-9_-]{40}\Z")
"""What a secret looks like: 40 characters, as Cloudflare's have."""

_PREFIX_LENGTH = 8
_PEPPER_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What may be shown of an API token at any time.

    Attributes:
        prefix: the first 8 characters of its secret, for a person to tell it from others.
        expires_at: from this moment on it is not recognised; None is never.
        revoked_at: None if it was not revoked.
        scopes: what it may do.
        account_weight: share of its account beside others.
        account_limits: how much its account may use.
    """

    id: str
    account_id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    scopes: frozenset[Scope]
    account_weight: float
    account_limits: Limits = NO_OWN_LIMITS


_LIMITS = [accounts.c[field.name] for field in fields(Limits)]
_SELECT = select(api_tokens, accounts.c.weight.label("account_weight"), *_LIMITS).join(accounts)


class ApiTokens:
    """The API tokens in a database.

    Args:
        pepper: what `load_pepper` returned; with another one no API token is recognised.
        clock: gives the present moment, with its zone.
    """

    def __init__(
        self, database: Database, pepper: bytes, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock

    @property
    def is_local(self) -> bool:
        """The database is a file, which is read without waiting for anybody."""
        return self._database.dialect_name == "sqlite"

    def create(
        self,
        account_id: str,
        *,
        name: str,
        expires_at: datetime | None = None,
        scopes: Iterable[str] = ALL_SCOPES,
    ) -> tuple[str, ApiToken]:
        """Add an API token; return its secret, which cannot be had again, and the rest.

        Raises: InvalidInput if there is no such account, the name does not have 1 to 100
            characters without control characters, expires_at has no time zone, or scopes are
            none or unknown.
        """
        account = Accounts(self._database).find(account_id)
        if account is None:
            raise InvalidInput(f"'/account_id' must be an existing account, got {account_id!r}")
        secret = secrets.token_urlsafe(30)  # four characters for three bytes: 40
        token = ApiToken(
            id=new_id(),
            account_id=account_id,
            name=require_name(name),
            prefix=secret[:_PREFIX_LENGTH],
            created_at=self._clock(),
            expires_at=require_zone("expires_at", expires_at),
            revoked_at=None,
            scopes=require_scopes(scopes),
            account_weight=account.weight,
            account_limits=account.limits,
        )
        with self._database.begin() as connection:
            connection.execute(insert(api_tokens).values(self._values(token, secret)))
        return secret, token

    def verify(self, secret: str) -> ApiToken | None:
        """Find the API token of this secret, which may be any text that a caller sent.

        None if there is none, or if it is revoked or expired.
        """
        if not SECRET_FORMAT.match(secret):
            return None
        with self._database.connect() as connection:
            query = _SELECT.where(api_tokens.c.digest == self.digest(secret))
            row = connection.execute(query).one_or_none()
        if row is None or row.revoked_at is not None:
            return None
        is_expired = row.expires_at is not None and row.expires_at <= self._clock()
        return None if is_expired else _token(row)

    def of_account(self, account_id: str) -> list[ApiToken]:
        """Return the account's API tokens, the oldest first, revoked and expired ones too."""
        query = _SELECT.where(api_tokens.c.account_id == account_id)
        query = query.order_by(api_tokens.c.created_at, api_tokens.c.id)
        with self._database.connect() as connection:
            return [_token(row) for row in connection.execute(query)]

    def revoke(self, token_id: str, account_id: str) -> bool:
        """End an API token of this account at once and for ever.

        Returns: whether this call ended it; False if it was revoked before, or if the account
            has no such API token.
        """
        statement = update(api_tokens).where(
            api_tokens.c.id == token_id,
            api_tokens.c.account_id == account_id,
            api_tokens.c.revoked_at.is_(None),
        )
        with self._database.begin() as connection:
            result = connection.execute(statement.values(revoked_at=self._clock()))
        return result.rowcount == 1

    def digest(self, secret: str) -> str:
        """Return what is kept of a secret, by which it is found again."""
        return hmac.digest(self._pepper, secret.encode(), "sha256").hex()

    def _values(self, token: ApiToken, secret: str) -> dict[str, object]:
        return {
            "id": token.id,
            "account_id": token.account_id,
            "name": token.name,
            "prefix": token.prefix,
            "digest": self.digest(secret),
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "scopes": scopes_text(token.scopes),
        }


def _token(row: Row[Any]) -> ApiToken:
    """Leave the digest behind: nobody needs it after the look-up."""
    values = dict(row._mapping)
    del values["digest"]
    limits = Limits(**{field.name: values.pop(field.name) for field in fields(Limits)})
    scopes = scopes_of_text(values["scopes"])
    return ApiToken(**values | {"scopes": scopes, "account_limits": limits})


def load_pepper(file: Path) -> bytes:
    """Return the 32 bytes in this file; if there is none, make it with mode 0600.

    Processes that start at the same time all get the same bytes.

    Raises: ConfigError if the file is not 32 bytes long, or can be neither read nor made.
    """
    try:
        if not file.exists():
            _create_pepper(file)
        pepper = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read or make the pepper {file}: {error.strerror}") from error
    if len(pepper) != _PEPPER_BYTES:
        raise ConfigError(f"the pepper {file} must have {_PEPPER_BYTES} bytes, got {len(pepper)}")
    return pepper


def _create_pepper(file: Path) -> None:
    # The bytes are on the disk before they get their name, so nobody can read half of them;
    # and a name is given only once, where a rename would replace the pepper of a faster process.
    with NamedTemporaryFile(dir=file.parent, prefix=f"{file.name}.") as draft:
        draft.write(secrets.token_bytes(_PEPPER_BYTES))
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            file.hardlink_to(draft.name)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    # A power cut must not take the name away and leave API tokens that depend on it.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
