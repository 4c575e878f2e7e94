"""`sirocco accounts`: whom API tokens and usage belong to."""

import json
from typing import Annotated

import typer

from sirocco.cli.output import AsJson, print_table
from sirocco.cli.stores import opened_stores

accounts = typer.Typer(name="accounts", help="Accounts: create, list.", no_args_is_help=True)


@accounts.command()
def create(
    name: Annotated[str, typer.Option(help="For people to tell it from others.")],
    as_json: AsJson = False,
) -> None:
    """Make an account and print its id."""
    with opened_stores() as stores:
        account = stores.accounts.create(name)
    print(json.dumps({"account_id": account.id, "name": account.name}) if as_json else account.id)


@accounts.command(name="list")
def list_accounts(as_json: AsJson = False) -> None:
    """List the accounts, the oldest first."""
    with opened_stores() as stores:
        rows = [
            {"account_id": a.id, "name": a.name, "created_at": a.created_at.isoformat()}
            for a in stores.accounts.all()
        ]
    print_table(rows, as_json=as_json, nothing="There is no account yet.")
