"""`sirocco tokens`: the API tokens that callers prove themselves with."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from sirocco.cli.output import AsJson, print_table
from sirocco.cli.stores import opened_stores
from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.store.stores import Stores

tokens = typer.Typer(name="tokens", help="API tokens: create, list, revoke.", no_args_is_help=True)

AccountOption = Annotated[
    str | None, typer.Option("--account", help="Account id; not needed if there is only one.")
]


@tokens.command()
def create(
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="For people to tell it from others.")] = "API token",
    expires_days: Annotated[
        float | None,
        typer.Option(min=0.001, max=36_500, help="Days until it ends (default: never)."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do: ai:read, ai:run; many times (default: both)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API token and print it. It is shown only now; what is kept cannot tell it."""
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    scopes = _scopes(scope)
    with opened_stores() as stores:
        if account is None and not stores.accounts.all():
            stores.accounts.create("default")
        account_id = _account_id(stores, account)
        secret, _ = stores.api_tokens.create(
            account_id, name=name, expires_at=expires_at, scopes=scopes
        )
    print(json.dumps({"account_id": account_id, "token": secret}) if as_json else secret)


@tokens.command(name="list")
def list_tokens(account: AccountOption = None, as_json: AsJson = False) -> None:
    """List an account's API tokens, the oldest first, without their secrets."""
    with opened_stores() as stores:
        rows = [
            {
                "id": token.id,
                "name": token.name,
                "prefix": token.prefix,
                "scopes": " ".join(sorted(token.scopes)),
                "created_at": token.created_at.isoformat(),
                "expires_at": token.expires_at and token.expires_at.isoformat(),
                "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
            }
            for token in stores.api_tokens.of_account(_account_id(stores, account))
        ]
    print_table(rows, as_json=as_json, nothing="The account has no API token yet.")


@tokens.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The id that `sirocco tokens list` shows.")],
    account: AccountOption = None,
    as_json: AsJson = False,
) -> None:
    """End an API token at once and for ever."""
    with opened_stores() as stores:
        account_id = _account_id(stores, account)
        if not stores.api_tokens.revoke(token_id, account_id):
            raise ConfigError(f"account {account_id} has no live API token with id {token_id!r}")
    print(json.dumps({"id": token_id, "revoked": True}) if as_json else f"{token_id} is revoked")


def _scopes(named: list[str] | None) -> Iterable[str]:
    """Read `--scope` options before anything is made. Raises: InvalidInput."""
    from sirocco.store.scopes import ALL_SCOPES, require_scopes  # noqa: PLC0415 - SQL is slow

    return require_scopes(named) if named else ALL_SCOPES


def _account_id(stores: "Stores", named: str | None) -> str:
    """Return the account that is meant. Raises: ConfigError if it is not there, or not clear."""
    if named is not None:
        if stores.accounts.find(named) is None:
            raise ConfigError(f"--account: there is no account {named!r}")
        return named
    known = stores.accounts.all()
    if not known:
        raise ConfigError("there is no account yet: `sirocco tokens create` makes one")
    if len(known) > 1:
        raise ConfigError(f"--account is needed: there are {len(known)} accounts")
    return known[0].id
