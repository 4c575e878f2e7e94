"""At the end of a request's header, before there is a task for it: who finds no room is told so.

An accepted connection and a parsed header are all that such a refusal costs. What it cannot decide
from the header alone goes on to `LoadShedding`, which asks the same `Shedder`.
"""

import urllib.parse
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

import httptools
from starlette.datastructures import State
from starlette.responses import Response

from sirocco.api.errors import error_answer
from sirocco.api.metrics import UNREAD
from sirocco.api.shedding import ask, has_long_body
from sirocco.errors import LimitError

if TYPE_CHECKING:
    from sirocco.service.metrics import Metrics
    from sirocco.service.shedding import Shedder

_PREFIX = b"/client/v4/accounts/"


class Door:
    """Looks at headers for a connection.

    Args:
        state: of the application; `shedder` and `metrics` are found in it.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def refusal(
        self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Response | None:
        """Answer a request that would be refused, if its body is short; else None."""
        if method != b"POST" or not url.startswith(_PREFIX):
            return None
        path = httptools.parse_url(url).path.decode("ascii")
        asked = ask(urllib.parse.unquote(path), headers)
        if asked is None or asked.model_id is None or has_long_body(asked.headers):
            return None
        shedder: Shedder = self._state.shedder
        caller = shedder.known_caller(asked.secret, asked.account_id)
        if caller is None:
            return None
        try:
            shedder.check(caller, asked.model_id)
        except LimitError as error:
            metrics: Metrics = self._state.metrics
            metrics.failed(error)
            answer = error_answer(error, str(uuid.uuid4()))
            metrics.requested(UNREAD, "", answer.status_code)
            return answer
        except Exception:  # a fault of ours: the application meets it, too, and answers for it
            return None
        return None
