"""No more of a body is held than the limit, whatever was announced."""

import asyncio

import pytest
from starlette.requests import Request

from sirocco.api.body import read_body
from sirocco.errors import RequestTooLarge


def request_of(pieces):
    """A request whose body comes in these pieces, and the list of those that were taken."""
    taken: list[bytes] = []

    async def receive():
        taken.append(pieces[len(taken)])
        more = len(taken) < len(pieces)
        return {"type": "http.request", "body": taken[-1], "more_body": more}

    return Request({"type": "http", "headers": []}, receive), taken


@pytest.mark.parametrize("pieces", [[b""], [b"abc"], [b"a", b"", b"bc"], [b"x" * 10]])
def test_a_body_within_the_limit_is_whole(pieces):
    request, _ = request_of(pieces)

    assert asyncio.run(read_body(request, 10)) == b"".join(pieces)


def test_reading_stops_with_the_piece_that_is_too_much():
    request, taken = request_of([b"x" * 6] * 100)

    with pytest.raises(RequestTooLarge, match="10 bytes"):
        asyncio.run(read_body(request, 10))
    assert len(taken) == 2
