"""A run's losses as a picture: an SVG that any browser shows, and no library draws."""

import math
from collections.abc import Sequence
from html import escape

from sirocco.training.state import RunLog

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 44
N_POINTS = 300
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce")


def loss_curve(log: RunLog, title: str) -> str:
    """Draw training loss, averaged where there are many steps, and held-out loss of each phase.

    Returns: an SVG document; with no steps, one that says so.
    """
    body = _drawing(log) if log.losses else [_text(WIDTH / 2, HEIGHT / 2, "no steps yet")]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(WIDTH / 2, 22, title, size=15),
            *body,
            "</svg>\n",
        ]
    )


def _drawing(log: RunLog) -> list[str]:
    trained = _averaged(log.losses)
    held_out: dict[str, list[tuple[int, float]]] = {}
    for step, phase, loss in log.held_out:
        held_out.setdefault(phase, []).append((step, loss))
    values = [loss for _, loss in trained] + [loss for _, _, loss in log.held_out]
    scale = _Scale(last_step=max(1, log.losses[-1][0]), low=min(values), high=max(values))
    drawn = [*scale.grid(), scale.line(trained, "#9ca3af"), _legend(0, "#9ca3af", "training")]
    for number, (phase, points) in enumerate(held_out.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn += [
            scale.line(points, colour), *(scale.dot(point, colour) for point in points),
            _legend(number + 1, colour, f"held out, {phase}"),
        ]  # fmt: skip
    return drawn


class _Scale:
    """From steps and losses to places in the picture."""

    def __init__(self, *, last_step: int, low: float, high: float) -> None:
        self._last_step = last_step
        self._tick = _round_up((high - low) / 6 or 0.1)
        self._low = math.floor(low / self._tick) * self._tick
        self._high = max(math.ceil(high / self._tick) * self._tick, self._low + self._tick)

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """(step, loss) → (x, y)."""
        step, loss = point
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / self._last_step
        y = TOP + (HEIGHT - TOP - BOTTOM) * (self._high - loss) / (self._high - self._low)
        return x, y

    def line(self, points: Sequence[tuple[float, float]], colour: str) -> str:
        """Join the points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.place, points))
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.8"/>'

    def dot(self, point: tuple[float, float], colour: str) -> str:
        """Mark a point."""
        x, y = self.place(point)
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>'

    def grid(self) -> list[str]:
        """Draw lines of equal loss, and the names and numbers of both axes."""
        drawn = []
        for i in range(round((self._high - self._low) / self._tick) + 1):
            loss = self._low + i * self._tick
            _, y = self.place((0, loss))
            drawn += [
                f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>',
                _text(LEFT - 8, y + 4, f"{loss:.4g}", anchor="end"),
            ]
        step_tick = max(1, _round_up(self._last_step / 6))
        for step in range(0, self._last_step + 1, int(step_tick)):
            x, _ = self.place((step, self._low))
            drawn.append(_text(x, HEIGHT - BOTTOM + 18, f"{step}"))
        return [
            *drawn,
            _text((LEFT + WIDTH) / 2, HEIGHT - 8, "step"),
            _text(LEFT, TOP - 10, "loss, nats a token", anchor="start"),
        ]


def _averaged(losses: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means over neighbours, so that at most N_POINTS are left: of steps, and of losses."""
    size = math.ceil(len(losses) / N_POINTS)
    groups = [losses[i : i + size] for i in range(0, len(losses), size)]
    return [(sum(s for s, _ in g) / len(g), sum(x for _, x in g) / len(g)) for g in groups]


def _round_up(value: float) -> float:
    """Find the next of 1, 2, 5, 10, … with as many zeros as it takes: 0.13 → 0.2, 70 → 100."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def _legend(row: int, colour: str, text: str) -> str:
    y = TOP + 16 + 18 * row
    return (
        f'<path d="M{WIDTH - 190} {y}h22" stroke="{colour}" stroke-width="3"/>'
        f"{_text(WIDTH - 160, y + 4, text, anchor='start')}"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="#374151">{escape(text)}</text>'
    )
