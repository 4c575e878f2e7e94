"""Reading a request's bytes, no more of them than we mean to hold."""

import asyncio
import zlib

from fastapi import Request
from starlette.requests import ClientDisconnect

from sirocco.errors import Aborted, InvalidInput, RequestTooLarge
from sirocco.wire.body import parse_object
from sirocco.wire.envelope import JsonObject

_GZIP = b"\x1f\x8b"
_WITH_GZIP_HEADER = 31
_SHORT_BODY = 64 * 1024
"""Bytes that are parsed where they are: it takes less than a millisecond."""


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Return the whole body, unpacked if it is gzip: old clients send that.

    What it is, its first bytes say; no JSON begins so. Clients name the wrong `Content-Encoding`.

    Raises: RequestTooLarge as soon as more than `limit_bytes` have come, are announced, or would
        come out of the gzip; InvalidInput for broken gzip; Aborted if the client left.
    """
    announced = request.headers.get("content-length", "0")
    if int(announced) > limit_bytes:  # the parser takes nothing but digits
        raise RequestTooLarge(f"the body has more than {limit_bytes} bytes")
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit_bytes:
                raise RequestTooLarge(f"the body has more than {limit_bytes} bytes")
    except ClientDisconnect:
        raise Aborted("the client left before its request was whole") from None
    return _unpacked(bytes(body), limit_bytes) if body.startswith(_GZIP) else bytes(body)


def _unpacked(packed: bytes, limit_bytes: int) -> bytes:
    """Unpack gzip, no further than the limit: a thousand bytes can become a million."""
    unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
    try:
        body = unpacker.decompress(packed, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid gzip: {error}") from error
    if len(body) > limit_bytes:
        raise RequestTooLarge(f"the body has more than {limit_bytes} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidInput("the body is not valid gzip: it is cut off, or something follows it")
    return body


async def members_of(request: Request) -> JsonObject:
    """Read a body that is one JSON object, no larger than allowed. Raises: InputError; Aborted."""
    settings = request.app.state.settings
    body = await read_body(request, settings.max_body_bytes)
    if len(body) <= _SHORT_BODY:
        return parse_object(body, settings.max_body_values)
    # The event loop has its turn between any two searches through the body.
    return await asyncio.to_thread(parse_object, body, settings.max_body_values)
