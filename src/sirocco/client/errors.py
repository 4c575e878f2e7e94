"""What can go wrong for a client.

AIError
├── AIConnectionError   the server was not reached, or the connection broke
│   └── AITimeout       nothing came for too long
├── AIRefused           the server answered with an error
│   ├── AIAuthError     who we are: account id or API token
│   ├── AIInputError    what we asked
│   ├── AILimitError    when we asked; the same request may succeed later
│   └── AIServerError   the server's own fault
├── AIStreamError       a stream that had begun did not end well
└── AIProtocolError     an answer that is not of the API's form
"""

import re

from sirocco.errors import SiroccoError

_REQUEST_ID = re.compile(r"\s*\(([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\)\s*$")


class AIError(SiroccoError):
    """Any failure of a call.

    Attributes:
        message: one sentence, without the request id.
        status: of HTTP; None where there was none of its own, as inside of a stream.
        code: the API's own, such as 5007; None where the server told none.
        request_id: under which the server's log knows it; None where it told none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        found = _REQUEST_ID.search(message)
        self.message = message[: found.start()] if found else message
        self.status, self.code = status, code
        self.request_id = request_id or (found.group(1) if found else None)
        super().__init__(self.message)

    def __str__(self) -> str:
        known = {"HTTP": self.status, "code": self.code, "request": self.request_id}
        details = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        return f"{self.message} ({details})" if details else self.message


class AIConnectionError(AIError):
    """The server was not reached, or the connection broke before an answer began."""


class AITimeout(AIConnectionError):
    """Nothing came from the server for longer than `timeout_s`."""


class AIRefused(AIError):
    """The server answered with an error."""


class AIAuthError(AIRefused):
    """The account id or the API token was not accepted."""


class AIInputError(AIRefused):
    """The request itself is wrong: a field, the model id, the length of the prompt."""


class AILimitError(AIRefused):
    """The request could not be served at this moment."""


class AIServerError(AIRefused):
    """The server failed, by no fault of the request."""


class AIStreamError(AIError):
    """A stream ended with an error event, or without saying that it was whole."""


class AIProtocolError(AIError):
    """The answer does not have the form of the API: is the address that of a server?"""


_AUTH_CODES = (6003, 9106, 10000)


def refused(
    message: str, *, status: int, code: int | None, request_id: str | None
) -> AIRefused:  # fmt: skip
    """Choose the class of an error answer."""
    if status in (401, 403) or code in _AUTH_CODES:
        kind: type[AIRefused] = AIAuthError
    elif status in (429, 503):
        kind = AILimitError
    elif status >= 500 or status == 408:
        kind = AIServerError
    else:
        kind = AIInputError
    return kind(message, status=status, code=code, request_id=request_id)
