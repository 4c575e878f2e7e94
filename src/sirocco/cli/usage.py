"""`sirocco usage`: what was used, and what it cost."""

from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from sirocco.cli.output import AsJson, print_table
from sirocco.cli.stores import opened_stores
from sirocco.errors import ConfigError

if TYPE_CHECKING:
    from sirocco.store.usage_totals import UsageTotal


def usage(
    account: Annotated[
        str | None, typer.Option(help="Account id (default: all accounts together).")
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=36_500, help="Days back, today included; in UTC.")
    ] = 30,
    by: Annotated[str, typer.Option(help="Add up by day, model or token.")] = "day",
    as_json: AsJson = False,
) -> None:
    """Show requests, tokens and neurons, added up by day, model or API token."""
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    since = today - timedelta(days=days - 1)
    with opened_stores() as stores:
        if account is not None and stores.accounts.find(account) is None:
            raise ConfigError(f"--account: there is no account {account!r}")
        totals = stores.usage_totals.by(by, account_id=account, since=since)
    rows = [_shown(total, by) for total in totals]
    print_table(rows, as_json=as_json, nothing="Nothing was used in this time.")


def _shown(total: "UsageTotal", by: str) -> dict[str, object]:
    values = asdict(total)
    group, name = values.pop("group"), values.pop("name")
    return {by: group, **({"name": name} if by == "token" else {}), **values}
