"""Reading a request's bytes, no more of them than we mean to hold."""

from fastapi import Request

from sirocco.errors import RequestTooLarge


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Return the whole body.

    Raises: RequestTooLarge as soon as more than `limit_bytes` have come, whatever was announced.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise RequestTooLarge(f"the body has more than {limit_bytes} bytes")
    return bytes(body)
