"""The study for a person: one HTML file, readable on a phone, by day and by night."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from sirocco.lab.comparison import CLOSE, GROUP, Gain
from sirocco.lab.study import Study

_MIB = 2**20


def write_report(study: Study, pictures: dict[str, str], out: Path) -> Path:
    """Write report.html with all pictures in it, and each picture as a file; returns the report."""
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures.items():
        (folder / f"{name}.svg").write_text(_as_file(svg), encoding="utf-8")
    file = out / "report.html"
    file.write_text(report(study, pictures), encoding="utf-8")
    return file


def report(study: Study, pictures: dict[str, str]) -> str:
    """Put figures and pictures into the page."""
    page = (resources.files("sirocco.lab") / "report.html").read_text("utf-8")
    shown = {f"{name.replace('-', '_')}_picture": _in_page(svg) for name, svg in pictures.items()}
    return Template(page).substitute(
        shown,
        headline=escape(headline(study)),
        table=_table(study),
        close=_close_table(study.comparison.equal_memory),
        close_equal_batch=_close_table(study.comparison.equal_batch),
        verdict=escape(verdict(study)),
        quality=escape(_quality(study)),
        conversion=_conversion(study),
        shapes=escape(_shapes(study)),
        machine=escape(_machine(study)),
    )


def headline(study: Study) -> str:
    """Say in one sentence what fewer KV heads brought here."""
    best = _of_group(study.comparison.equal_memory)[-1]
    return (
        f"{best.time.variant} writes {best.measured:.1f} times as many tokens a second as MHA "
        f"in the same {study.comparison.kv_cache_bytes / _MIB:,.0f} MiB of KV cache, "
        f"at {best.time.context:,} tokens of context."
    )


def verdict(study: Study) -> str:
    """Say where "close to 4 times" holds, and where it does not."""
    memory, batch = (
        _of_group(gains) for gains in (study.comparison.equal_memory, study.comparison.equal_batch)
    )
    name = memory[0].time.variant
    return (
        f"{name} has four query heads to a KV head, as Mistral 7B has. In equal memory it reaches "
        f"{CLOSE:g} times MHA's tokens a second {_where(memory)}. With the same batch of "
        f"{batch[0].time.batch} for both it reaches that {_where(batch)}: what a step reads is "
        f"then the weights, too, and these do not become fewer."
    )


def _of_group(gains: Iterable[Gain]) -> list[Gain]:
    """Pick the variant with groups of four, or with the largest below; shortest context first."""
    gains = list(gains)
    size = max(gain.group_size for gain in gains if gain.group_size <= GROUP)
    return sorted((g for g in gains if g.group_size == size), key=lambda g: g.time.context)


def _where(gains: Sequence[Gain]) -> str:
    there = [f"{gain.time.context:,}" for gain in gains if gain.measured >= CLOSE]
    if not there:
        best = max(gain.measured for gain in gains)
        return f"at no context that was tried ({best:.2f} times at best)"
    if len(there) == len(gains):
        return "at every context that was tried"
    return f"at contexts of {', '.join(there)} tokens, and not at the others"


def _table(study: Study) -> str:
    rows = [
        (
            row.variant, f"{row.n_kv_heads}", _kib(row.kv_bytes_per_token),
            f"{row.loss:.3f} ± {row.loss_spread / 2:.3f}", f"{row.loss_over_mha:+.3f}",
            f"{row.tokens_per_s:,.1f}", f"{row.gain:.2f}×",
        )
        for row in study.table()
    ]  # fmt: skip
    head = (
        "", "KV heads", "memory a token", "held-out loss", "over MHA", "tokens/s",
        "times MHA",
    )  # fmt: skip
    return html_table(head, rows)


def _close_table(gains: Sequence[Gain]) -> str:
    contexts = sorted({gain.time.context for gain in gains})
    names = list(dict.fromkeys(gain.time.variant for gain in gains))
    by_place = {(gain.time.variant, gain.time.context): gain for gain in gains}
    rows = [(name, *(_cell(by_place[name, context]) for context in contexts)) for name in names[1:]]
    return html_table(("", *(f"{context:,}" for context in contexts)), rows)


def _cell(gain: Gain) -> str:
    star = " ✓" if gain.is_close_to_4 else ""
    return f"{gain.measured:.2f} of {gain.by_bytes:.2f}{star}"


def _quality(study: Study) -> str:
    spread = max(trained.spread for trained in study.trained)
    base, last = study.trained[0], study.trained[-1]
    return (
        f"Each variant learnt from {study.n_tokens:,} tokens ({study.texts}, of which "
        f"{study.n_learnt_tokens:,} are different) in {study.steps:,} steps, with "
        f"{len(base.losses)} seeds and {base.n_parameters:,} parameters: what fewer KV heads free "
        f"went into the feed-forward. {last.variant} loses {last.loss - base.loss:+.3f} nats a "
        f"token against MHA; one variant's seeds lie up to {spread:.3f} apart, so differences "
        f"below that say nothing."
    )


def _conversion(study: Study) -> str:
    conversion = study.conversion
    rows = [
        (
            row.variant, f"{row.n_parameters:,}", f"{row.pooled:.3f}", f"{row.up_trained:.3f}",
            f"{row.from_scratch:.3f}",
        )
        for row in conversion.rows
    ]  # fmt: skip
    mha = study.trained[0]
    first = (
        mha.variant, f"{mha.n_parameters:,}", f"{conversion.before:.3f}",
        f"{conversion.before_trained_on:.3f}", f"{mha.losses[0]:.3f}",
    )  # fmt: skip
    head = ("", "parameters", "pooled", f"{conversion.steps} steps more", "from scratch")
    return html_table(head, [first, *rows])


def _shapes(study: Study) -> str:
    comparison = study.comparison
    names = ", ".join(
        f"{name} {_kib(n_bytes)}" for name, n_bytes in comparison.kv_bytes_per_token.items()
    )
    return (
        f"Timed: weights in {comparison.weights}, a token's keys and values take {names}; "
        f"every variant has a KV cache of {comparison.kv_cache_bytes / _MIB:,.0f} MiB."
    )


def _machine(study: Study) -> str:
    machine = study.machine
    return (
        f"{machine.cpu}, {machine.n_cpus} processors, {machine.n_threads} threads, "
        f"{machine.isa}; reads {machine.read_bytes_per_s / 1e9:.1f} GB/s. {machine.system}, "
        f"Python {machine.python}, torch {machine.torch}, Sirocco {machine.sirocco}. "
        f"The study ({study.name}) took {study.wall_s / 60:.1f} minutes, "
        f"{study.cpu_s / 60:.1f} of processor time."
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table whose first column names its rows."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _kib(n_bytes: float) -> str:
    return f"{n_bytes / 1024:g} KiB"


def _in_page(svg: str) -> str:
    """Leave colours to the page: its style stands for the picture's own."""
    start, end = svg.index("<style>"), svg.index("</style>") + len("</style>")
    return svg[:start] + svg[end:]


def _as_file(svg: str) -> str:
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg
