"""The playground: a page at `/`, and the files that it asks for. They ask for no credentials.

The page itself asks the API, as any client does. What may run in it, and whom it may ask, its
policy says: nothing but the files of this package, and this server. So text of a model can
neither run nor call anybody, whatever the page does with it.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response

from sirocco.api.errors import RoutingError

FOLDER = Path(__file__).parent.parent / "playground"
"""What `playground/` in the repository builds."""

router = APIRouter(include_in_schema=False)

_POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # Only DOMPurify may make markup of text.
    "require-trusted-types-for 'script'",
    "trusted-types dompurify",
])  # fmt: skip
_ALL = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_PAGE = {
    **_ALL,
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
_FILE = {**_ALL, "cache-control": "public, max-age=31536000, immutable"}
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}


def front_page() -> Response:
    """Answer whoever opens the server in a browser."""
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers=_PAGE)


@router.get("/playground/{name}")
async def playground_file(name: str) -> Response:
    """Give a file of the page. Its name holds a hash of what is in it, so it never changes."""
    path = FOLDER / name
    media_type = _TYPES.get(path.suffix)
    if media_type is None or path.parent != FOLDER or not path.is_file():
        raise RoutingError(404, 7000, "No route for that URI")
    is_named_by_hash = path.suffix != ".txt"
    return FileResponse(path, media_type=media_type, headers=_FILE if is_named_by_hash else _ALL)
