"""What an API token may do."""

from collections.abc import Iterable
from enum import StrEnum

from sirocco.errors import InvalidInput


class Scope(StrEnum):
    """One permission. There are few, so that people know what they give."""

    READ = "ai:read"  # look: at the account, its models, its usage
    RUN = "ai:run"  # run models, which costs


ALL_SCOPES = frozenset(Scope)


def require_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Give the scopes of these names. Raises: InvalidInput if there is none, or an unknown one."""
    scopes = set()
    for name in names:
        try:
            scopes.add(Scope(name))
        except ValueError:
            known = ", ".join(sorted(Scope))
            raise InvalidInput(f"'/scopes' must be of {known}, got {name!r}") from None
    if not scopes:
        raise InvalidInput("'/scopes' must have at least 1 scope, got 0")
    return frozenset(scopes)


def scopes_text(scopes: Iterable[Scope]) -> str:
    """Write scopes as they are kept and shown: in order, with spaces between."""
    return " ".join(sorted(scopes))


def scopes_of_text(text: str) -> frozenset[Scope]:
    """Read scopes that are kept; one of a newer version gives nothing here."""
    return frozenset(Scope(name) for name in text.split() if name in set(Scope))
