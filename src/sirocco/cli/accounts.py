"""`sirocco accounts`: whom API tokens and usage belong to."""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sirocco.cli.output import AsJson, print_table
from sirocco.cli.stores import opened_stores
from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.store.limits import Limits

accounts = typer.Typer(
    name="accounts", help="Accounts: create, list, weigh, limit.", no_args_is_help=True
)

_Limit = Annotated[str | None, typer.Option(metavar="N", help="0: none; default: settings.")]
_Weight = Annotated[float, typer.Option(help="Its share of an engine beside other accounts.")]


@accounts.command()
def create(
    name: Annotated[str, typer.Option(help="For people to tell it from others.")],
    weight: _Weight = 1.0,
    as_json: AsJson = False,
) -> None:
    """Make an account and print its id."""
    with opened_stores() as stores:
        account = stores.accounts.create(name, weight=weight)
    made = {"account_id": account.id, "name": account.name, "weight": account.weight}
    print(json.dumps(made) if as_json else account.id)


@accounts.command(name="weight")
def set_weight(
    account_id: Annotated[str, typer.Argument(help="The account.")],
    weight: Annotated[float, typer.Argument(help="Its share of an engine; 1 is usual.")],
) -> None:
    """Change an account's share of an engine beside others: twice the weight, twice the tokens."""
    with opened_stores() as stores:
        stores.accounts.set_weight(account_id, weight)


@accounts.command()
def limits(
    account_id: Annotated[str, typer.Argument(help="The account.")],
    daily_neurons: _Limit = None,
    daily_tokens: _Limit = None,
    per_minute: _Limit = None,
    as_json: AsJson = False,
) -> None:
    """Show and change what an account may use: a number, 0 for no limit, or `default` for what
    the server's settings say. A day begins at 00:00 UTC.
    """
    given = {
        "daily_neurons": daily_neurons,
        "daily_tokens": daily_tokens,
        "per_minute": per_minute,
    }
    changes = {name: _limit(name, text) for name, text in given.items() if text is not None}
    with opened_stores() as stores:
        account = stores.accounts.find(account_id)
        if account is None:
            raise ConfigError(f"there is no account {account_id!r}")
        limits = replace(account.limits, **changes)
        if changes:
            stores.accounts.set_limits(account_id, limits)
    print_table([_shown(limits)], as_json=as_json, nothing="")


@accounts.command(name="list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts, the oldest first."""
    with opened_stores() as stores:
        rows = [
            {
                "account_id": a.id,
                "name": a.name,
                "weight": a.weight,
                **_shown(a.limits),
                "created_at": a.created_at.isoformat(),
            }
            for a in stores.accounts.all()
        ]
    print_table(rows, as_json=as_json, nothing="There is no account yet.")


def _limit(name: str, text: str) -> Any:
    """Read a limit; None is what the settings say. Raises: ConfigError."""
    if text == "default":
        return None
    try:
        return float(text) if name == "daily_neurons" else int(text)
    except ValueError:
        option = f"--{name.replace('_', '-')}"
        raise ConfigError(f"{option} must be a number or 'default', got {text!r}") from None


def _shown(limits: "Limits") -> dict[str, object]:
    return {name: "default" if value is None else value for name, value in asdict(limits).items()}
