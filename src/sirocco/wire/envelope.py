"""The JSON objects that REST answers are wrapped in.

The members stand in the order in which the public service sends them: recorded answers
are compared as text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

JsonObject = dict[str, Any]


def success(result: object, *, messages: Sequence[Mapping[str, object]] = ()) -> JsonObject:
    """Wrap the result of an answer that went well; messages are for a person."""
    said = [dict(message) for message in messages]
    return {"result": result, "success": True, "errors": [], "messages": said}


def page_of(items: Sequence[object], *, page: int, per_page: int) -> JsonObject:
    """Wrap one page of a list; behind the last page there is an empty one, where clients stop."""
    shown = items[(page - 1) * per_page : page * per_page]
    return success(list(shown)) | {
        "result_info": {
            "page": page,
            "per_page": per_page,
            "count": len(shown),
            "total_count": len(items),
            "total_pages": -(-len(items) // per_page),
        }
    }


def gateway_failure(
    code: int, message: str, *, error_chain: Sequence[Mapping[str, object]] | None = None
) -> JsonObject:
    """Wrap an error from before inference: routing and authentication.

    Args:
        code: the public error code.
        message: one sentence for a person.
        error_chain: the causes, each with `code` and `message`; None leaves the member out.
    """
    error: JsonObject = {"code": code, "message": message}
    if error_chain is not None:
        error["error_chain"] = [dict(cause) for cause in error_chain]
    return {"result": None, "success": False, "errors": [error], "messages": []}


def inference_failure(code: int, message: str, request_id: str) -> JsonObject:
    """Wrap an error of inference; the message ends with the request id."""
    error = {"message": f"{message} ({request_id})", "code": code}
    return {"errors": [error], "success": False, "result": {}, "messages": []}
