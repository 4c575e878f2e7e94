"""The pages of a model search, asked for one after the other until there are no more."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sirocco.client.errors import AIProtocolError

if TYPE_CHECKING:
    from sirocco.wire.envelope import JsonObject

_PER_PAGE = 100
_MOST_PAGES = 1000


class ModelPages:
    """Collects the models of a search.

    It stops at a page with nothing new: servers differ in what they do with a page beyond the
    last one, and some send the first again.
    """

    def __init__(self, query: Mapping[str, object]) -> None:
        self.models: list[JsonObject] = []
        self._query = {name: _shown(value) for name, value in query.items() if value is not None}
        self._page = 1
        self._seen: set[str] = set()

    @property
    def params(self) -> dict[str, str]:
        """Query of the next page."""
        return self._query | {"page": str(self._page), "per_page": str(_PER_PAGE)}

    def take(self, page: Any) -> bool:
        """Add a page; tell whether there may be another. Raises: AIProtocolError."""
        if not isinstance(page, list) or not all(isinstance(row, dict) for row in page):
            raise AIProtocolError("a page of models must be an array of objects")
        fresh = [row for row in page if str(row.get("name")) not in self._seen]
        self._seen.update(str(row.get("name")) for row in fresh)
        self.models += fresh
        self._page += 1
        return bool(fresh) and self._page <= _MOST_PAGES


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
