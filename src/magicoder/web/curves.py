"""Curves as SVG: what a training run's loss did, step by step. No library, no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 860
HEIGHT: Final = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 44
_COLOURS: Final = ("#3556a8", "#b3541e", "#2e7d4f", "#7b4fa3", "#8a6d1d", "#a33a5a")
_MOST_POINTS: Final = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points that belong together.

    points   x and y; a y that is no number is left away
    dots     shows the points themselves, for few of them
    """

    name: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False


def chart(title: str, x_name: str, y_name: str, curves: Sequence[Curve]) -> str:
    """Return an SVG element with the curves and a legend; "" if there is nothing to draw."""
    curves = [Curve(name=c.name, points=_thinned(c.points), dots=c.dots) for c in curves]
    points = [p for curve in curves for p in curve.points]
    if not points:
        return ""
    xs, ys = ticks(min(p[0] for p in points), max(p[0] for p in points)), ticks(*_extent([p[1] for p in points]))
    scale = _Scale(xs[0], xs[-1], ys[0], ys[-1])
    parts = [_frame(title, x_name, y_name), *_grid(scale, xs, ys)]
    for place, curve in enumerate(curves):
        parts += _drawn(curve, _COLOURS[place % len(_COLOURS)], scale, place)
    return "\n".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers from at or below `low` to at or above `high`, at least two."""
    span = high - low or abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, slots=True)
class _Scale:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_low) / (self.x_high - self.x_low) * (WIDTH - _LEFT - _RIGHT)
        up = (y - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(HEIGHT - _BOTTOM - up, 1)


def _thinned(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    finite = [p for p in points if math.isfinite(p[1])]
    every = max(1, math.ceil(len(finite) / _MOST_POINTS))
    return tuple(p for i, p in enumerate(finite) if i % every == 0 or i == len(finite) - 1)


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """Return the least and the greatest value; the first wild steps of a run do not flatten the rest."""
    ordered = sorted(values)
    return ordered[0], ordered[min(len(ordered) - 1, math.ceil(0.995 * len(ordered)))]


def _frame(title: str, x_name: str, y_name: str) -> str:
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12">\n<title>{escape(title)}</title>\n'
        f'<text x="{_LEFT}" y="18" font-size="14" font-weight="600" fill="currentColor">{escape(title)}</text>\n'
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="currentColor">'
        f"{escape(x_name)}</text>\n"
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle" fill="currentColor">'
        f"{escape(y_name)}</text>"
    )


def _grid(scale: _Scale, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    lines = []
    for x in xs:
        at, bottom = scale.at(x, scale.y_low)
        lines.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle" fill="currentColor">{x:g}</text>')
    for y in ys:
        left, at = scale.at(scale.x_low, y)
        lines.append(
            f'<line x1="{left}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}" stroke="currentColor" opacity="0.15"/>'
            f'<text x="{left - 6}" y="{at + 4}" text-anchor="end" fill="currentColor">{y:g}</text>'
        )
    return lines


def _drawn(curve: Curve, colour: str, scale: _Scale, place: int) -> list[str]:
    points = [scale.at(x, min(y, scale.y_high)) for x, y in curve.points]
    path = " ".join(f"{x},{y}" for x, y in points)
    drawn = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>']
    if curve.dots:
        drawn += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    right = WIDTH - _RIGHT - 8
    drawn.append(
        f'<text x="{right}" y="{_TOP + 12 + 16 * place}" text-anchor="end" fill="{colour}">{escape(curve.name)}</text>'
    )
    return drawn
