"""`sirocco accounts`: whom API tokens and usage belong to."""

import json
from typing import Annotated

import typer

from sirocco.cli.output import AsJson, print_table
from sirocco.cli.stores import opened_stores

accounts = typer.Typer(name="accounts", help="Accounts: create, list, weigh.", no_args_is_help=True)

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


@accounts.command(name="list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts, the oldest first."""
    with opened_stores() as stores:
        rows = [
            {
                "account_id": a.id,
                "name": a.name,
                "weight": a.weight,
                "created_at": a.created_at.isoformat(),
            }
            for a in stores.accounts.all()
        ]
    print_table(rows, as_json=as_json, nothing="There is no account yet.")
