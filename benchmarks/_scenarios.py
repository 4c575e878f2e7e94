"""The scenarios of the serving benchmark: each sends its crowd, and says what became of it."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from _answers import Answer, auc, events_between, percentile, read_answers, summary
from _child import Child
from _quiet import busy_cpu_s
from _server import Account, CpuTimes, Home, Server
from _workload import Lengths, Request, fixed, poisson, prompt, request
from rich.console import Console

DRAIN_S = 60.0
"""Answers that are live when the last request was sent get this long to end."""

FLOOD_FACTOR, QUIET_SHARE = 50, 0.1
OVERLOAD_FACTOR = 10
STEADY_SHARES = (0.3, 0.6, 0.9)
N_LEAVING = 80  # more than are computed at once: some leave from the queue
LONG_PROMPT_WORDS = 150

Row = dict[str, Any]

_console = Console(stderr=True, highlight=False)


def tell(line: str) -> None:
    """Say what takes so long."""
    _console.print(f"... {line}", style="dim")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how many, and what counts as good."""

    seconds: float
    n_streams: int
    n_probes: int
    idle_s: float
    seed: int
    ttft_target_s: float
    itl_target_s: float


@dataclass(frozen=True, slots=True)
class Subject:
    """What is served, and asked.

    Attributes:
        options: of `sirocco serve`.
        full_batch: answers computed at the same time, at most.
        small_queue: requests that may wait beside them in the scenario overload.
        words: of a prompt.
    """

    model_id: str
    options: tuple[str, ...]
    full_batch: int
    small_queue: int
    words: Lengths


EMBEDDED = Subject("@sirocco/breeze-instruct", (), 64, 16, Lengths(median=40, sigma=0.8, most=160))


@dataclass(frozen=True, slots=True)
class Check:
    """A figure, and what the scorecard expects of it."""

    what: str
    value: float | None
    unit: str = ""
    target: str = ""


@dataclass(slots=True)
class Outcome:
    """What a scenario found: rows of waits, and figures to check."""

    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """One call of the crowd: the answers, and what server, crowd and others took meanwhile."""

    answers: list[Answer]
    seconds: float
    server_cpu: CpuTimes
    crowd_cpu_s: float
    busy_elsewhere: float

    def row(self, name: str, plan: Plan, answers: Sequence[Answer] | None = None) -> Row:
        """Sum up all answers, or some; costs are always those of the whole call."""
        chosen = self.answers if answers is None else answers
        n_tokens = max(1, sum(answer.n_output_tokens for answer in self.answers))
        n_good = sum(a.meets(plan.ttft_target_s, plan.itl_target_s) for a in chosen)
        sums = summary(chosen)
        return {
            "row": name, **sums, "seconds": round(self.seconds, 2),
            "tokens_per_s": round(sums["n_tokens"] / self.seconds, 1),
            "goodput_per_s": round(n_good / self.seconds, 2),
            "loop_us_per_token": round(1e6 * self.server_cpu.loop_s / n_tokens, 1),
            "api_us_per_token": round(1e6 * self.server_cpu.api_s / n_tokens, 1),
            "engine_us_per_token": round(1e6 * self.server_cpu.engine_s / n_tokens, 1),
            "crowd_us_per_token": round(1e6 * self.crowd_cpu_s / n_tokens, 1),
            "crowd_share": round(self.crowd_cpu_s / self.seconds, 3),
            "busy_elsewhere": round(self.busy_elsewhere, 3),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A server that is loaded, and the crowd before it."""

    server: Server
    crowd: Child
    targets: dict[str, dict[str, Any]]

    def send(self, how: str, **arguments: Any) -> Taken:
        """Let the crowd do one call."""
        limit_s = arguments.pop("limit_s")
        cpu, busy = self.server.cpu, busy_cpu_s()
        done = self.crowd.ask(how, targets=self.targets, limit_s=limit_s, **arguments)
        took, busy = self.server.cpu - cpu, busy_cpu_s() - busy
        others_s = max(0.0, busy - took.total_s - done["cpu_s"])
        return Taken(
            read_answers(done["records"]), done["seconds"], took, done["cpu_s"],
            others_s / done["seconds"] / (os.cpu_count() or 1),
        )  # fmt: skip

    def open_loop(self, requests: Sequence[Request], seconds: float) -> Taken:
        """Send each request when it is due."""
        return self.send("open_loop", requests=requests, limit_s=seconds + DRAIN_S)

    def closed_loop(self, requests: Sequence[Request], n_streams: int, seconds: float) -> Taken:
        """Keep some streams live."""
        return self.send(
            "closed_loop", requests=requests, n_streams=n_streams, seconds=seconds,
            limit_s=seconds + DRAIN_S,
        )  # fmt: skip


class Bench:
    """Servers with one model, two accounts, and what they reached."""

    def __init__(self, plan: Plan, home: Home, crowd: Child, subject: Subject) -> None:
        self.plan, self.home, self.crowd, self.subject = plan, home, crowd, subject
        self.accounts: dict[str, Account] = {}
        self._capacity = 0.0

    @contextmanager
    def site(self, **settings: object) -> Iterator[Site]:
        """Start a server, and let it answer a little before it is measured."""
        tell(f"starting a server{''.join(f', {n} {v}' for n, v in settings.items())}")
        for name in ("quiet", "loud"):
            self.accounts[name] = self.accounts.get(name) or self.home.new_account(name)
        subject = self.subject
        options = {"max_running": subject.full_batch, **settings}
        with self.home.serving(*subject.options, **options) as server:
            targets = {n: a.target(server, subject.model_id) for n, a in self.accounts.items()}
            targets["health"] = server.target("/health/ready")
            site = Site(server, self.crowd, targets)
            warm = site.closed_loop(self.mixed("quiet", 200, "warm"), 4, 1.0)
            if not all(answer.is_whole for answer in warm.answers):
                raise SystemExit(f"the server does not answer: {warm.answers[0]}")
            yield site

    def rng(self, name: str) -> random.Random:
        """Seed one for each purpose: no scenario changes what another one asks."""
        return random.Random(f"{self.plan.seed} {name}")  # noqa: S311 - nothing secret

    def mixed(self, who: str, n: int, name: str) -> list[Request]:
        """Draw requests of mixed lengths."""
        rng = self.rng(name)
        return [request(who, self.subject.words, rng) for _ in range(n)]

    def poisson(self, who: str, rate: float, seconds: float, name: str) -> list[Request]:
        """Draw the requests of an open loop."""
        return poisson(who, self.subject.words, rate, seconds, self.rng(name))

    def capacity(self, site: Site) -> float:
        """Measure once how many requests per second a full batch in a closed loop gets.

        The better of two counts: one bad moment of the machine would spoil every rate after it.
        """
        if not self._capacity:
            self._capacity = max(self._measure_capacity(site, number) for number in (1, 2))
            tell(f"capacity is {self._capacity:.1f} requests/s")
        return self._capacity

    def _measure_capacity(self, site: Site, number: int) -> float:
        seconds, n_streams = max(2.0, 0.5 * self.plan.seconds), self.subject.full_batch
        tell(f"measuring capacity with {n_streams} streams, {seconds:.0f} s")
        requests = self.mixed("quiet", 5000, f"capacity {number}")
        answers = site.closed_loop(requests, n_streams, seconds).answers
        n_events = sum(len(answer.event_s) for answer in answers)
        return events_per_s(answers, seconds) * len(answers) / max(1, n_events)


def events_per_s(answers: Sequence[Answer], seconds: float) -> float:
    """Rate of events in a closed loop, without its first quarter and its end."""
    return events_between(answers, seconds / 4, seconds) / (0.75 * seconds)


def steady(bench: Bench, site: Site) -> Outcome:
    """Raise the rate towards capacity."""
    capacity, seconds = bench.capacity(site), bench.plan.seconds
    outcome = Outcome(checks=[Check("capacity, a full batch in a closed loop", capacity, "req/s")])
    for share in STEADY_SHARES:
        name = f"{share:g} of capacity"
        tell(f"steady, {name}, {seconds:.0f} s")
        requests = bench.poisson("quiet", share * capacity, seconds, name)
        row = site.open_loop(requests, seconds).row(name, bench.plan)
        outcome.rows.append({**row, "requests_per_s": round(share * capacity, 2)})
    return outcome


def streams(bench: Bench, site: Site) -> Outcome:
    """Keep a number of answers always live."""
    n_streams, seconds = bench.plan.n_streams, bench.plan.seconds
    tell(f"{n_streams} streams, {seconds:.0f} s")
    taken = site.closed_loop(bench.mixed("quiet", 5000, "streams"), n_streams, seconds)
    row = taken.row(f"{n_streams} streams", bench.plan)
    checks = [
        Check("tokens per event", row["n_tokens"] / max(1, row["n_events"])),
        Check("events/s while all streams are live", events_per_s(taken.answers, seconds)),
        Check("event loop, CPU per token", row["loop_us_per_token"], "us"),
    ]
    return Outcome([row], checks)


def flood(bench: Bench, site: Site) -> Outcome:
    """Let one account ask 50 times as often as another: what does the other wait?"""
    plan, capacity = bench.plan, bench.capacity(site)
    rate, seconds = QUIET_SHARE * capacity, 2 * plan.seconds
    quiet = bench.poisson("quiet", rate, seconds, "quiet")
    loud = bench.poisson("loud", FLOOD_FACTOR * rate, seconds, "loud")
    tell(f"a quiet account, {rate:.1f} requests/s, {seconds:.0f} s")
    alone = site.open_loop(quiet, seconds)
    tell(f"the same, and another with {FLOOD_FACTOR} times as many")
    both = site.open_loop(sorted(quiet + loud, key=lambda asked: asked["at_s"]), seconds)
    flooded = [answer for answer in both.answers if answer.who == "quiet"]
    others = [answer for answer in both.answers if answer.who == "loud"]
    rows = [
        alone.row("quiet, alone", plan), both.row("quiet, flooded", plan, flooded),
        both.row("the flood", plan, others),
    ]  # fmt: skip
    refused = Check("quiet requests that were refused", rows[1]["n_refused"], "", "0")
    return Outcome(rows, [refused, *_flood_ratios(alone.answers, flooded)])


def _flood_ratios(alone: Sequence[Answer], flooded: Sequence[Answer]) -> Iterator[Check]:
    for percent, target in ((50, ""), (99, "<= 2")):
        before = percentile([a.ttft_s for a in alone if a.event_s], percent)
        after = percentile([a.ttft_s for a in flooded if a.event_s], percent)
        ratio = after / before if before and after else None
        yield Check(f"quiet TTFT p{percent}, flooded / alone", ratio, "x", target)


def overload(bench: Bench) -> Outcome:
    """Ask for ten times what the server can do, with a short queue."""
    plan, seconds = bench.plan, bench.plan.seconds
    with bench.site(max_waiting=bench.subject.small_queue) as site:
        capacity = bench.capacity(site)
        taken = []
        for factor in (1, OVERLOAD_FACTOR):
            tell(f"{factor} times capacity, {factor * capacity:.0f} requests/s, {seconds:.0f} s")
            requests = bench.poisson("quiet", factor * capacity, seconds, f"{factor} times")
            taken.append(site.open_loop(requests, seconds))
    at_capacity, over = taken
    rows = [
        at_capacity.row("1 x capacity", plan), over.row(f"{OVERLOAD_FACTOR} x capacity", plan)
    ]  # fmt: skip
    good, good_over = rows[0]["goodput_per_s"], rows[1]["goodput_per_s"]
    refused = [answer for answer in over.answers if answer.is_refused]
    n_told = sum(answer.retry_after is not None for answer in refused)
    return Outcome(rows, [
        Check("refusals, p50", rows[1]["refusal_ms"]["p50"], "ms"),
        Check("refusals, p99", rows[1]["refusal_ms"]["p99"], "ms", "<= 50"),
        Check("the crowd was late by, p99", rows[1]["client_late_ms"]["p99"], "ms"),
        Check("refusals with retry-after", n_told / len(refused) if refused else None, "", "1"),
        Check("goodput, overloaded / at capacity", good_over / good if good else None, "x",
              ">= 0.9"),
        Check("neither answered nor refused", rows[1]["n_failed"], "", "0"),
    ])  # fmt: skip


def abort(bench: Bench, site: Site) -> Outcome:
    """Let all clients leave at once."""
    rng = bench.rng("abort")
    asked = [fixed("quiet", f"{prompt(rng, 12)}. Tell me a long story.", 400)
             for _ in range(N_LEAVING)]  # fmt: skip
    for each in asked:
        each["body"] |= {"temperature": 1.5, "seed": 1 + rng.getrandbits(32)}
    then = [{"who": "health", "at_s": 0.0, "body": None},
            fixed("quiet", prompt(rng, 12), 1)]  # fmt: skip
    n_before = _n_usage_rows(bench.home)
    tell(f"{N_LEAVING} clients begin, and leave after 1 s")
    taken = site.send("leave_all", requests=asked, after_s=1.0, then=then, limit_s=DRAIN_S)
    idle_after_s = seconds_until_idle(site.server)
    *left, ready, after = taken.answers
    n_cut = sum(answer.error == "the client left" for answer in left)
    n_rows = _n_usage_rows(bench.home) - n_before
    return Outcome([taken.row("those who left", bench.plan, left)], [
        Check("cut by their clients", n_cut),
        Check("/health/ready after it", ready.status, "", "200"),
        Check("/health/ready answered in", 1e3 * (ready.end_s - ready.due_s), "ms"),
        Check("a new request's first token in", 1e3 * after.ttft_s, "ms"),
        Check("server idle after", idle_after_s, "s", "<= 5"),
        Check("usage rows / requests", n_rows / (len(left) + 1), "", "1"),
    ])  # fmt: skip


def seconds_until_idle(server: Server, limit_s: float = 20.0) -> float | None:
    """Wait until the server computes no more; None if it goes on."""
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < limit_s:
        cpu_s = server.cpu.total_s
        time.sleep(0.2)
        if server.cpu.total_s - cpu_s < 0.1 * 0.2:
            return waited_s
    return None


def _n_usage_rows(home: Home) -> int:
    """Count them when the last have been written, which takes the server a moment."""
    time.sleep(0.5)
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM usage").fetchone()[0])


def idle(bench: Bench, site: Site) -> Outcome:
    """Let a loaded server wait."""
    seconds_until_idle(site.server)
    tell(f"idle, {bench.plan.idle_s:.0f} s")
    began, before = time.monotonic(), site.server.cpu
    time.sleep(bench.plan.idle_s)
    took, seconds = site.server.cpu - before, time.monotonic() - began
    share = 100 * took.total_s / seconds
    return Outcome(checks=[Check("share of one processor", share, "%", "< 1")])


def probe(bench: Bench, site: Site) -> Outcome:
    """Try to tell by the time of an answer what another account has asked."""
    tell(f"{bench.plan.n_probes} probes between accounts")
    asked, kinds = _probes(bench)
    taken = site.closed_loop(asked, 1, DRAIN_S)
    rows: list[Row] = []
    times: dict[str, list[float]] = {}
    for kind in PROBES:
        answers = [a for k, a in zip(kinds, taken.answers, strict=False) if k == kind]
        rows.append(taken.row(kind, bench.plan, answers))
        times[kind] = [answer.ttft_s for answer in answers]
    first, again, known, unknown = times.values()
    own = (percentile(again, 50) or 0.0) / (percentile(first, 50) or 1.0)
    return Outcome(rows, [
        Check("AUC, B with A's prompt against a new one", auc(known, unknown), "", "0.45 ... 0.55"),
        Check("standard error of an AUC of 0.5", (1 / (6 * len(known))) ** 0.5),
        Check("AUC, A's second time against the first", auc(again, first)),
        Check("A's second TTFT / first, medians", own, "x", "< 1"),
    ])  # fmt: skip


PROBES = ("A, first time", "A, again", "B, A's prompt", "B, a new prompt")


def _probes(bench: Bench) -> tuple[list[Request], list[str]]:
    """Let A ask a new prompt twice, then B the same and one that nobody knows, in any order."""
    first, again, known, unknown = PROBES
    rng = bench.rng("probe")
    asked, kinds = [], []
    for _ in range(bench.plan.n_probes):
        of_a, of_nobody = prompt(rng, LONG_PROMPT_WORDS), prompt(rng, LONG_PROMPT_WORDS)
        of_b = [(known, of_a), (unknown, of_nobody)]
        rng.shuffle(of_b)
        asked += [fixed("quiet", of_a, 1), fixed("quiet", of_a, 1)]
        asked += [fixed("loud", text, 1) for _, text in of_b]
        kinds += [first, again, *(kind for kind, _ in of_b)]
    return asked, kinds


SHARED: dict[str, Callable[[Bench, Site], Outcome]] = {
    scenario.__name__: scenario for scenario in (steady, streams, flood, abort, idle, probe)
}
"""Those that one server is enough for."""

SCENARIOS = (*SHARED, overload.__name__)
