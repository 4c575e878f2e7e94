"""What a crowd's records say: waits, goodput, refusals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

REFUSALS = (429, 503)
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what became of it. Times are seconds since the call began.

    Attributes:
        due_s: when it should have been sent. Waits for an answer count from here: a client that
            is late must not make the server look better.
        event_s: when each event with text came.
        n_tokens: by the server's own count, if it sent one.
    """

    who: str
    due_s: float
    sent_s: float
    end_s: float
    status: int | None
    retry_after: str | None
    event_s: tuple[float, ...]
    n_tokens: int | None
    finish_reason: str | None
    max_tokens: int | None
    is_whole: bool
    error: str | None

    @property
    def is_refused(self) -> bool:
        """The server had no room."""
        return self.status in REFUSALS

    @property
    def refusal_s(self) -> float:
        """Time from the moment when it was really sent: the crowd itself is late in an overload."""
        return self.end_s - self.sent_s

    @property
    def ttft_s(self) -> float:
        """Time to the first event with text; infinite if none came."""
        return self.event_s[0] - self.due_s if self.event_s else math.inf

    @property
    def gaps_s(self) -> list[float]:
        """Time between one event and the next."""
        return [after - before for before, after in pairwise(self.event_s)]

    @property
    def n_output_tokens(self) -> int:
        """Tokens of the answer; an answer without a count has one in each event, or all."""
        if self.n_tokens is not None:
            return self.n_tokens
        if self.finish_reason == "length" and self.max_tokens is not None:
            return self.max_tokens
        return len(self.event_s)

    def meets(self, ttft_target_s: float, itl_target_s: float) -> bool:
        """Tell whether it is whole, began in time, and had its events in time on average."""
        if not self.is_whole or self.ttft_s > ttft_target_s:
            return False
        gaps = self.gaps_s
        return not gaps or sum(gaps) / len(gaps) <= itl_target_s


def read_answers(records: Iterable[dict[str, Any]]) -> list[Answer]:
    """Read a crowd's records."""
    return [Answer(**{**record, "event_s": tuple(record["event_s"])}) for record in records]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that `percent` of all do not exceed; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def in_ms(values: Sequence[float]) -> dict[str, float | None]:
    """Percentiles in milliseconds."""
    found = {f"p{percent}": percentile(values, percent) for percent in PERCENTILES}
    return {
        name: None if value is None or math.isinf(value) else round(1e3 * value, 2)
        for name, value in found.items()
    }


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Count some answers and their waits: TTFT of those that began, totals of whole ones."""
    refused = [answer for answer in answers if answer.is_refused]
    whole = [answer for answer in answers if answer.is_whole]
    failed = [answer for answer in answers if not answer.is_whole and not answer.is_refused]
    return {
        "n_sent": len(answers), "n_whole": len(whole), "n_refused": len(refused),
        "n_failed": len(failed),
        "errors": sorted({answer.error or f"status {answer.status}" for answer in failed})[:3],
        "ttft_ms": in_ms([answer.ttft_s for answer in answers if answer.event_s]),
        "itl_ms": in_ms([gap for answer in answers for gap in answer.gaps_s]),
        "total_ms": in_ms([answer.end_s - answer.due_s for answer in whole]),
        "refusal_ms": in_ms([answer.refusal_s for answer in refused]),
        "client_late_ms": in_ms([answer.sent_s - answer.due_s for answer in answers]),
        "n_tokens": sum(answer.n_output_tokens for answer in answers),
        "n_events": sum(len(answer.event_s) for answer in answers),
    }  # fmt: skip


def events_between(answers: Iterable[Answer], from_s: float, to_s: float) -> int:
    """Count events with text in a time that neither the start nor the end disturbs."""
    return sum(from_s <= at_s < to_s for answer in answers for at_s in answer.event_s)


def auc(first: Sequence[float], second: Sequence[float]) -> float:
    """Tell how well times give away which kind they are: 0.5 not at all, 0 or 1 always.

    It is the chance that one of `first` is less than one of `second`; ties count half.
    """
    wins = sum((a < b) + 0.5 * (a == b) for a in first for b in second)
    return wins / (len(first) * len(second))
