"""`GET /accounts/{account_id}/ai/usage`: what the account used. Ours; the public API has none."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sirocco.api.auth import ReaderOfAccount
from sirocco.api.document import SEARCHING, answers
from sirocco.errors import InvalidInput
from sirocco.store.usage_totals import GROUPINGS, UsageTotal
from sirocco.wire.answers import Success, UsageGroup
from sirocco.wire.envelope import success

if TYPE_CHECKING:
    from sirocco.service.directory import Directory

router = APIRouter()

_DEFAULT_DAYS = 30
_MOMENT = {
    "type": "string", "description": "ISO 8601; without a zone it is UTC",
    "anyOf": [{"format": "date"}, {"format": "date-time"}],
}  # fmt: skip
_QUERY = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in {
            "by": {"enum": list(GROUPINGS)}, "since": _MOMENT, "until": _MOMENT,
        }.items()
    ]
}  # fmt: skip


@router.get(
    "/accounts/{account_id}/ai/usage",
    summary="What the account used",
    openapi_extra=_QUERY,
    responses=answers(Success[list[UsageGroup]], SEARCHING),
)
async def usage_report(request: Request, caller: ReaderOfAccount) -> Response:
    """Add up requests `by` day (default), model or token, from `since` until before `until`:
    dates or moments in ISO 8601, without a zone in UTC; by default the last 30 days.
    """
    query = request.query_params
    by = query.get("by", "day")
    until = _moment("until", query.get("until"))
    since = _moment("since", query.get("since")) or _days_before(until)
    directory: Directory = request.app.state.directory
    totals = await directory.usage(caller.account_id, by, since, until)
    return JSONResponse(success([_shown(total, by) for total in totals]))


def _shown(total: UsageTotal, by: str) -> dict[str, Any]:
    values = asdict(total)
    group, name = values.pop("group"), values.pop("name")
    if by == "token":
        return {"token": group or None, "name": name, **values}
    return {by: group, **values}


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"'/{name}' must be a date or a moment in ISO 8601, got {text[:40]!r}"
        ) from None


def _days_before(until: datetime | None) -> datetime:
    try:
        return (until or datetime.now(UTC)) - timedelta(days=_DEFAULT_DAYS)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
