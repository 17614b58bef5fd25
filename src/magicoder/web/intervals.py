"""Estimates with their intervals as SVG: a row each, grouped. No library, no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 860
_LEFT, _RIGHT, _TOP = 250, 70, 44
_ROW, _GROUP = 24, 36
_COLOURS: Final = ("#3556a8", "#b3541e", "#2e7d4f", "#7b4fa3", "#8a6d1d", "#a33a5a")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure between 0 and 1 with the ends of its interval, and the group that it is shown in."""

    group: str
    name: str
    value: float
    low: float
    high: float


def chart(title: str, estimates: Sequence[Estimate]) -> str:
    """Return an SVG element; "" if there is nothing to draw. Equal names have equal colours."""
    if not estimates:
        return ""
    groups = list(dict.fromkeys(e.group for e in estimates))
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(dict.fromkeys(e.name for e in estimates))}
    y, parts = _TOP, []
    for group in groups:
        parts.append(f'<text x="8" y="{y + 16}" class="group">{escape(group)}</text>')
        y += _GROUP - 12
        for estimate in (e for e in estimates if e.group == group):
            parts += _row(estimate, y, colours[estimate.name])
            y += _ROW
        y += 12
    height = y + 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="12">'
        "<style>.group{font-weight:bold}.grid{stroke:#ddd}text{fill:#222}</style>"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="8" y="22" font-size="15">{escape(title)}</text>'
    )
    return "\n".join([head, *_grid(y), *parts, "</svg>"])


def _x(share: float) -> float:
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _grid(bottom: int) -> list[str]:
    lines = []
    for percent in range(0, 101, 20):
        x = _x(percent / 100)
        lines.append(f'<line class="grid" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{bottom}"/>')
        lines.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{percent}</text>')
    return lines


def _row(estimate: Estimate, y: int, colour: str) -> list[str]:
    name = estimate.name if len(estimate.name) <= 36 else f"{estimate.name[:35]}…"
    low, high, middle = _x(estimate.low), _x(estimate.high), y + _ROW / 2
    said = f"{estimate.name}: {100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
    return [
        f"<g><title>{escape(said)}</title>",
        f'<text x="20" y="{middle + 4}">{escape(name)}</text>',
        f'<line x1="{low}" y1="{middle}" x2="{high}" y2="{middle}" stroke="{colour}" stroke-width="2"/>',
        *(
            f'<line x1="{x}" y1="{middle - 4}" x2="{x}" y2="{middle + 4}" stroke="{colour}" stroke-width="2"/>'
            for x in (low, high)
        ),
        f'<circle cx="{_x(estimate.value)}" cy="{middle}" r="4" fill="{colour}"/>',
        f'<text x="{WIDTH - _RIGHT + 16}" y="{middle + 4}">{100 * estimate.value:.1f}</text></g>',
    ]
