"""What the terminal shows when the server is ready: all that a first request needs."""

from dataclasses import dataclass

from sirocco import __version__
from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.settings import Settings
from sirocco.store.stores import Stores

FIRST_MODEL_ID = "@cf/mistral/mistral-7b-instruct-v0.1"
_TOKEN_IN_SHELL = "$SIROCCO_API_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Owner:
    """The account to greet; the API token's secret only if it was just made."""

    account_id: str
    secret: str | None


def owner_of(stores: Stores) -> Owner:
    """Return the first account; if there is none, make it, and an API token for it."""
    known = stores.accounts.all()
    if known:
        return Owner(known[0].id, None)
    account = stores.accounts.create("default")
    secret, _ = stores.api_tokens.create(account.id, name="first API token")
    return Owner(account.id, secret)


def greeting(url: str, owner: Owner, settings: Settings) -> str:
    """Write the lines to show; the command in them can be pasted as it stands."""
    catalog = Catalog(settings.models_folder, settings.models, settings.catalog_file)
    first = catalog.find(FIRST_MODEL_ID)
    can_answer = first.is_installed or settings.stand_in
    model_id = first.model_id if can_answer else EMBEDDED_MODEL_ID
    return "\n".join([
        f"Sirocco {__version__} is listening on {url}",
        "",
        f"  account id  {owner.account_id}",
        f"  API token   {_about_token(owner)}",
        f"  API pages   {url}/docs",
        f"  playground  {_playground(url, owner)}",
        "",
        *_about_models(catalog, settings),
        "",
        "Ask something:",
        "",
        _curl(url, owner, model_id),
        "",
    ])  # fmt: skip


def _about_token(owner: Owner) -> str:
    if owner.secret is not None:
        return f"{owner.secret}  (shown only this once)"
    return "one that you have, or a new one: sirocco tokens create"


def _playground(url: str, owner: Owner) -> str:
    """Give the page's address; with it an API token just made, which the page takes out at once.

    What follows `#` stays in the browser: it is never sent.
    """
    if owner.secret is None:
        return f"{url}/"
    return f"{url}/#account_id={owner.account_id}&api_token={owner.secret}"


def _about_models(catalog: Catalog, settings: Settings) -> list[str]:
    installed = [e.model_id for e in catalog.entries if e.is_installed]
    lines = [f"Models on this machine: {', '.join(installed) or 'none'}."]
    if settings.stand_in:
        lines.append(
            f"For every other model of the catalogue {EMBEDDED_MODEL_ID} stands in: a small\n"
            f"model with simple answers. Each of them says so in its header sirocco-stand-in."
        )
    return lines


def _curl(url: str, owner: Owner, model_id: str) -> str:
    return (
        f"  curl -X POST {url}/client/v4/accounts/{owner.account_id}/ai/run/{model_id} \\\n"
        f'    -H "Authorization: Bearer {owner.secret or _TOKEN_IN_SHELL}" '
        f'-H "Content-Type: application/json" \\\n'
        f"""    -d '{{"prompt": "What is grouped query attention", "stream": true}}'"""
    )
