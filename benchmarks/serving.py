"""What does the server cost, and what do its users wait?

A crowd in a process of its own sends streaming requests of mixed lengths, at Poisson arrivals
that no slow answer holds back, and notes when each event comes. Waits count from the moment when
a request was due. Costs are the processor time of the server's processes per output token, as
/proc tells: its event loop (the main thread), its main process whole, and its children. The
crowd's own processor time stands beside them, as it is taken from the same machine.

`steady` raises the rate towards capacity, `streams` keeps 16 answers live, `flood` lets one
account ask 50 times as often as another, `abort` lets all clients leave at once, `idle` waits,
`probe` looks for another account's prompts by the time of the first token, `overload` sends ten
times what can be answered. They use the embedded model, of which two cores answer more than they
can refuse, or with --large the shape of TinyLlama 1.1B. `peer` compares 16 streams of the latter
with llama.cpp's server, and runs only when it is named: its first run builds llama.cpp.

Goodput is requests per second that were whole, whose first event came within --ttft-target, and
whose events had a gap within --itl-target on average. Figures are of this machine in this hour:
`others` is the share of its processors that neither the server nor the crowd used.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from _child import Child
from _report import arguments, finish
from _scenarios import EMBEDDED, SCENARIOS, SHARED, Bench, Check, Outcome, Plan, Row, overload
from _server import Home
from _serving_peer import large_subject, peer
from platformdirs import user_cache_path

HERE = Path(__file__).parent


def main() -> None:
    """Run the scenarios, print a table each and one JSON line."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped, too
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="sirocco-serving-") as folder:
        crowd = Child([sys.executable, HERE / "_load.py"], Path(folder) / "crowd.log", n_threads=1)
        try:
            with closing(outcomes(options, Home(Path(folder)), crowd)) as found:
                for name, outcome in found:
                    show(name, outcome)
                    rows += lines(name, outcome)
        finally:
            crowd.end()
    is_all = set(options.scenario) == set(SCENARIOS)
    name = "serving-large" if options.large else "serving"
    finish(name if is_all else "-".join([name, *options.scenario]), rows, save=options.save)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = arguments((__doc__ or "").partition("\n")[0])
    cache = user_cache_path("sirocco") / "benchmarks"
    add = parser.add_argument
    add("--scenario", nargs="+", choices=[*SCENARIOS, "peer"], default=SCENARIOS)
    add("--large", action="store_true", help="serve TinyLlama 1.1B's shape, q4, random weights")
    add("--quick", action="store_true", help="a few seconds each, one round with the peer")
    add("--seconds", type=float, default=10, help="of each row with a crowd")
    add("--idle-seconds", type=float, default=10, help="of the scenario idle")
    add("--streams", type=int, default=16, help="that are live at once in streams and peer")
    add("--probes", type=int, default=100, help="prompts of the scenario probe")
    add("--seed", type=int, default=0, help="of arrivals, prompts and lengths")
    add("--ttft-target", type=float, default=1.0, help="seconds to a good answer's first event")
    add("--itl-target", type=float, default=0.2, help="seconds between its events, on average")
    add("--rounds", dest="runs", type=int, default=2, help="of the scenario peer")
    add("--tokens", type=int, default=64, help="of an answer in the scenario peer")
    add("--threads", type=int, default=2, help="of either engine in the scenario peer")
    add("--patience", type=float, default=5, help="seconds to wait for quiet before its turns")
    add("--cache", type=Path, default=cache, help=f"for its weights and logs; {cache}")
    add("--peer-env", type=Path, help="the peer's environment; CACHE/peer-env")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.idle_seconds, options.probes = 1.5, 2.0, 20
        options.runs, options.tokens = 1, 16
    options.peer_env = options.peer_env or options.cache / "peer-env"
    return options


def outcomes(
    options: argparse.Namespace, home: Home, crowd: Child
) -> Generator[tuple[str, Outcome], None, None]:
    """Run what is wanted, one after another."""
    plan = plan_of(options)
    subject = large_subject(options, home) if options.large else EMBEDDED
    bench = Bench(plan, home, crowd, subject)
    shared = [name for name in options.scenario if name in SHARED]
    if shared:
        with bench.site() as site:
            for name in shared:
                yield name, SHARED[name](bench, site)
    if "overload" in options.scenario:
        yield "overload", overload(bench)
    if "peer" in options.scenario:
        yield "peer", peer(options, plan, home, crowd)


def plan_of(options: argparse.Namespace) -> Plan:
    """Take what the scenarios need from the command line."""
    return Plan(
        seconds=options.seconds, n_streams=options.streams, n_probes=options.probes,
        idle_s=options.idle_seconds, seed=options.seed, ttft_target_s=options.ttft_target,
        itl_target_s=options.itl_target,
    )  # fmt: skip


def lines(name: str, outcome: Outcome) -> list[dict[str, object]]:
    """Write an outcome's rows for the JSON line."""
    rows = [{"scenario": name, **row} for row in outcome.rows]
    checks = [{"scenario": name, "row": "check", **asdict(check)} for check in outcome.checks]
    return rows + checks


HEADS = (
    f"  {'':<20}{'sent':>6}{'whole':>6}{'refd':>6}{'fail':>5} |{'TTFT ms':^21}|{'ITL ms':^21}"
    f"|{'whole answer ms':^21}|{'tok':>6}{'good':>6} |{'CPU us per token':^24}|{'others':>7}\n"
    f"  {'':<20}{'':>23} |" + f"{'p50':>7}{'p95':>7}{'p99':>7}|" * 3
    + f"{'/s':>6}{'/s':>6} |{'loop':>6}{'api':>6}{'engine':>7}{'crowd':>5}|"
)  # fmt: skip


def show(name: str, outcome: Outcome) -> None:
    """Print a scenario's table, and its figures beside what is expected of them."""
    print(f"\n{name}")
    if outcome.rows:
        print(HEADS)
    for row in outcome.rows:
        print(f"  {row['row']:<20}{''.join(cells(row))}")
        if row["errors"]:
            print(f"    failed: {'; '.join(row['errors'])}")
    for check in outcome.checks:
        print(f"  {check.what:<48}{shown_value(check):>12} {check.unit:<5}  {check.target}")
    sys.stdout.flush()


def cells(row: Row) -> Iterator[str]:
    """Columns after the first."""
    yield f"{row['n_sent']:>6}{row['n_whole']:>6}{row['n_refused']:>6}{row['n_failed']:>5} |"
    for wait in ("ttft_ms", "itl_ms", "total_ms"):
        yield "".join(f"{number(value):>7}" for value in row[wait].values()) + "|"
    yield f"{row['tokens_per_s']:>6.0f}{row['goodput_per_s']:>6.1f} |"
    yield f"{row['loop_us_per_token']:>6.0f}{row['api_us_per_token']:>6.0f}"
    yield f"{row['engine_us_per_token']:>7.0f}{row['crowd_us_per_token']:>5.0f}|"
    yield f"{row['busy_elsewhere']:>7.0%}"


def number(value: float | None) -> str:
    """Write about three digits."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def shown_value(check: Check) -> str:
    """Write a figure with what digits it deserves."""
    if check.value is None:
        return "-"
    return f"{check.value:.3g}" if check.value < 1000 else f"{check.value:.0f}"


if __name__ == "__main__":
    main()
