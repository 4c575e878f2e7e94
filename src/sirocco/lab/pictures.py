"""The study's pictures: SVG that takes its text colour from the page, by day and by night.

Every variant keeps its colour and its mark, and stands in the legend by name, so that nothing
hangs on telling colours apart.
"""

import io
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sirocco.errors import BackendUnavailable
from sirocco.lab.comparison import CLOSE, Gain
from sirocco.lab.decode import StepTime
from sirocco.lab.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GRID = "#0a0b0c", "#a0b0c0"
"""Stand for the page's colours until the picture is written."""

_COLOURS = ("#4f7df3", "#1a9aa8", "#3f9b46", "#d98a00", "#d9480f")
_MARKS = "os^Dv"
_MIB = 2**20


def check_pictures() -> None:
    """Raise BackendUnavailable, with what to do, if pictures cannot be drawn here."""
    if find_spec("matplotlib") is None:
        raise BackendUnavailable(
            "pictures need matplotlib: pip install 'sirocco[lab]'; or ask for --json alone"
        )


def draw(study: Study) -> dict[str, str]:
    """Draw everything; returns SVG text by name."""
    pictures: dict[str, Callable[[Study], Figure]] = {
        "gain-equal-memory": _gain_equal_memory,
        "tokens-equal-memory": _tokens_equal_memory,
        "gain-equal-batch": _gain_equal_batch,
        "time-of-a-token": _time_of_a_token,
        "quality": _quality,
        "learning": _learning,
        "conversion": _conversion,
        "window-memory": _window_memory,
        "window-time": _window_time,
        "window-loss": _window_loss,
    }
    import matplotlib as mpl  # noqa: PLC0415

    style: dict[str, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": "sirocco", "font.family": "sans-serif",
        "font.size": 10, "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _GRID,
        "xtick.color": _INK, "ytick.color": _INK, "axes.grid": True, "grid.color": _GRID,
        "grid.alpha": 0.35, "grid.linewidth": 0.6, "axes.spines.top": False,
        "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 9,
        "lines.linewidth": 1.8, "lines.markersize": 5,
    }  # fmt: skip
    with mpl.rc_context(style):
        return {name: _svg(picture(study)) for name, picture in pictures.items()}


def _svg(figure: "Figure") -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Its size is the page's business; its proportions stay, by the viewBox.
    text = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", text, count=1)
    style = (
        "<style>svg{color:#1c1e21;--grid:#b6bec9}"
        "@media(prefers-color-scheme:dark){svg{color:#e4e6ea;--grid:#5b6470}}"
        "text{font-family:system-ui,sans-serif!important}</style>"
    )
    text = text.replace(">", ">" + style, 1)
    return text.replace(_INK, "currentColor").replace(_GRID, "var(--grid)")


def _figure(*, x: str, y: str, log_x: bool = False, log_y: bool = False) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - without pyplot there is no state

    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if log_x:
        axes.set_xscale("log", base=2)
    if log_y:
        axes.set_yscale("log", base=2)
    return figure, axes


def _plain_ticks(axis: Any, values: list[float], label: Callable[[float], str]) -> None:
    axis.set_ticks(values, [label(value) for value in values])
    axis.set_minor_locator(_no_ticks())


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator  # noqa: PLC0415

    return NullLocator()


def _tokens(n: float) -> str:
    return f"{n / 1024:g}k" if n >= 1024 else f"{n:g}"


def _times(n: float) -> str:
    return f"{n:g}×"


def _names(study: Study) -> list[str]:
    return [trained.variant for trained in study.trained]


def _looks(study: Study) -> dict[str, dict[str, Any]]:
    return {
        name: {"color": _COLOURS[i % 5], "marker": _MARKS[i % 5], "label": name}
        for i, name in enumerate(_names(study))
    }


def _of(gains: tuple[Gain, ...], name: str) -> list[Gain]:
    return [gain for gain in gains if gain.time.variant == name]


def _gains(study: Study, gains: tuple[Gain, ...]) -> "Figure":
    figure, axes = _figure(
        x="tokens of context", y="tokens/s, times those of MHA", log_x=True, log_y=True
    )
    axes.axhspan(CLOSE, 4, color="#3f9b46", alpha=0.15, linewidth=0)
    for name, look in _looks(study).items():
        ours = _of(gains, name)
        contexts = [gain.time.context for gain in ours]
        axes.plot(contexts, [gain.by_bytes for gain in ours], "--", color=look["color"], lw=1)
        axes.plot(contexts, [gain.measured for gain in ours], **look)
    _plain_ticks(axes.xaxis, sorted({float(g.time.context) for g in gains}), _tokens)
    top = max(max(g.measured, g.by_bytes) for g in gains)
    _plain_ticks(axes.yaxis, [x for x in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0) if x <= top * 1.1], _times)
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handletextpad=0.4)
    return figure


def _gain_equal_memory(study: Study) -> "Figure":
    return _gains(study, study.comparison.equal_memory)


def _gain_equal_batch(study: Study) -> "Figure":
    return _gains(study, study.comparison.equal_batch)


def _tokens_equal_memory(study: Study) -> "Figure":
    figure, axes = _figure(
        x="tokens of context", y="tokens/s of all sequences", log_x=True, log_y=True
    )
    gains = study.comparison.equal_memory
    for name, look in _looks(study).items():
        ours = _of(gains, name)
        axes.plot([g.time.context for g in ours], [g.time.tokens_per_s for g in ours], **look)
    _plain_ticks(axes.xaxis, sorted({float(g.time.context) for g in gains}), _tokens)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handletextpad=0.4)
    return figure


def _time_of_a_token(study: Study) -> "Figure":
    """Stack what a token takes of a step's time: weights and attention, at the longest context."""
    longest = max(gain.time.context for gain in study.comparison.equal_memory)
    times = [g.time for g in study.comparison.equal_memory if g.time.context == longest]
    figure, axes = _figure(x="milliseconds for a token", y="")
    names = [f"{time.variant}, batch {time.batch}" for time in times]
    attention = [1e3 * time.attention_s / time.batch for time in times]
    weights = [1e3 * time.weights_s / time.batch for time in times]
    axes.barh(names, attention, color="#4f7df3", label="attention", height=0.6)
    axes.barh(names, weights, left=attention, color="#d98a00", label="weights", height=0.6)
    for i, total in enumerate(map(sum, zip(attention, weights, strict=True))):
        axes.annotate(f" {total:,.1f}", (total, i), va="center")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _quality(study: Study) -> "Figure":
    figure, axes = _figure(
        x="bytes of keys and values a token keeps", y="held-out loss (nats a token)", log_x=True
    )
    per_token = study.comparison.kv_bytes_per_token
    for trained, look in zip(study.trained, _looks(study).values(), strict=True):
        x = per_token[trained.variant]
        seeds = [x] * len(trained.losses)
        axes.plot(seeds, trained.losses, ls="", marker=".", color=look["color"], alpha=0.7)
        axes.plot(x, trained.loss, ls="", ms=9, **look)
    ticks = sorted(float(n) for n in per_token.values())
    _plain_ticks(axes.xaxis, ticks, lambda n: f"{n / 1024:g} KiB")
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handletextpad=0.1)
    return figure


def _learning(study: Study) -> "Figure":
    figure, axes = _figure(x="step", y="loss of the rows learnt (nats a token)")
    for trained, look in zip(study.trained, _looks(study).values(), strict=True):
        smooth = _smoothed(trained.curve)
        axes.plot(range(1, len(smooth) + 1), smooth, color=look["color"], label=trained.variant)
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handletextpad=0.4)
    return figure


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Means over the last twentieth of what came so far."""
    width = max(1, len(values) // 20)
    return [sum(values[max(0, i - width) : i]) / min(i, width) for i in range(1, len(values) + 1)]


def _conversion(study: Study) -> "Figure":
    figure, axes = _figure(x="", y="held-out loss (nats a token)")
    rows, conversion = study.conversion.rows, study.conversion
    places = range(len(rows))
    series = (
        ("pooled", [r.pooled for r in rows], "v", "#d9480f"),
        (f"and {conversion.steps} steps more", [r.up_trained for r in rows], "o", "#4f7df3"),
        ("from scratch", [r.from_scratch for r in rows], "D", "#3f9b46"),
    )
    for label, values, mark, colour in series:
        axes.plot(places, values, ls="", marker=mark, ms=7, color=colour, label=label)
    axes.axhline(conversion.before, color=_INK, lw=1, label="MHA")
    axes.axhline(
        conversion.before_trained_on, color=_INK, lw=1, ls=":",
        label=f"MHA, {conversion.steps} steps more",
    )  # fmt: skip
    axes.set_xticks(places, [row.variant for row in rows])
    axes.margins(x=0.12)
    figure.legend(loc="outside upper center", ncols=3, columnspacing=1, handletextpad=0.4)
    return figure


def _window_times(study: Study, y: str, of: Callable[[StepTime], float]) -> "Figure":
    figure, axes = _figure(x="tokens of context", y=y, log_x=True)
    times = study.window.decode
    for windowed, mark, colour in ((False, "o", "#d9480f"), (True, "s", "#4f7df3")):
        ours = [time for time in times if (time.window is not None) == windowed]
        label = f"window of {_tokens(ours[0].window or 0)}" if windowed else "no window"
        axes.plot(
            [time.context for time in ours], [of(time) for time in ours],
            marker=mark, color=colour, label=label,
        )  # fmt: skip
    _plain_ticks(axes.xaxis, sorted({float(time.context) for time in times}), _tokens)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _window_memory(study: Study) -> "Figure":
    return _window_times(
        study, "MiB that a sequence holds", lambda time: time.kv_held_bytes / time.batch / _MIB
    )


def _window_time(study: Study) -> "Figure":
    batch = study.window.decode[0].batch
    return _window_times(
        study, f"milliseconds for a step of {batch}", lambda time: 1e3 * time.step_s
    )


def _window_loss(study: Study) -> "Figure":
    figure, axes = _figure(x="position in the text", y="loss (nats a token)")
    looks = zip("osv", ("#d9480f", "#d98a00", "#4f7df3"), strict=True)
    for line, (mark, colour) in zip(study.window.by_position, looks, strict=True):
        axes.plot(line.positions, line.losses, marker=mark, color=colour, label=line.name, ms=4)
    axes.axvline(study.window.trained_seq_len, color=_INK, lw=1, ls=":")
    axes.annotate(
        " longest text in training", (study.window.trained_seq_len, 0.98),
        xycoords=("data", "axes fraction"), va="top", fontsize=9,
    )  # fmt: skip
    figure.legend(loc="outside upper center", ncols=2, columnspacing=1)
    return figure
