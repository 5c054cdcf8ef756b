"""Small pictures for the UI: SVG in markdown, the only picture that Dagster shows without a server behind it.

Pure, and no Dagster in here. Text that comes from outside is escaped, coordinates are numbers. Markdown of 1000
characters or more is hidden behind a link, hence the terse SVG: strokes for columns, coloured words for a legend.
"""

import base64
from collections.abc import Mapping
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 480, 80
SHOWN = 1000  # characters of markdown; from there on the UI shows a link (dagster-webserver 1.13)
_TOP = 18  # pixels for the line above
_STEP = 16  # from one day to the next: 30 fill the width
_BLUE, _DARK = "#7ae", "#26b"
_COLOURS = ("#26b", "#d92", "#495", "#b5b", "#888")
_MOST = len(_COLOURS)  # parts of a bar, the last of them for all the others


def markdown(svg: str, alt: str) -> str:
    """An image in markdown. `alt` is read aloud, and shown where images are not."""
    encoded = base64.b64encode(svg.encode()).decode()
    plain = "".join(c if c.isalnum() or c in " ,.:-_" else " " for c in alt)
    return f"![{plain}](data:image/svg+xml;base64,{encoded})"


def days(values: Mapping[str, int]) -> str:
    """Bytes by date (ascending, at most 30) as columns, gaps left out; the last one, the run's own, is dark."""
    top = max(values.values(), default=0)
    heights = [max(1, round((HEIGHT - _TOP) * value / (top or 1))) for value in values.values()]
    columns = "".join(f"v-{was}m{_STEP} {was}" for was, _ in pairwise(heights))
    last = f'<path d="M{_STEP * len(heights) - 8} {HEIGHT}v-{heights[-1]}" stroke="{_DARK}"/>' if heights else ""
    span = " .. ".join(dict.fromkeys((min(values), max(values)))) if values else "no date"
    return _svg(
        HEIGHT,
        _text(11, f"bytes a day, {span[:30]}, at most {size(top)}"),
        f'<g stroke-width="14"><path d="M8 {HEIGHT}{columns}" stroke="{_BLUE}"/>{last}</g>',
    )


def parts(seconds: Mapping[str, float]) -> str:
    """Where the time went: one bar, its parts in order, each named with its seconds in its colour."""
    shown = _merged(seconds)
    total = sum(shown.values()) or 1.0
    bars, names, at = [], [], 0
    for (name, spent), colour in zip(shown.items(), _COLOURS, strict=False):
        wide = max(1, round(WIDTH * spent / total))
        bars.append(f'<path d="M{at} 27h{wide}" stroke="{colour}"/>')
        names.append(f'<tspan dx="8" fill="{colour}">{escape(name[:9])} {spent:.2f}</tspan>')
        at += wide
    return _svg(
        58,
        _text(11, f"where {total if shown else 0:.2f} s went"),
        f'<g stroke-width="18">{"".join(bars)}</g><text y="52">{"".join(names)}</text>',
    )


def size(number: int) -> str:
    """Bytes for people, in powers of 1000."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _merged(seconds: Mapping[str, float]) -> dict[str, float]:
    """The longest, in their order, and one for all others."""
    if len(seconds) <= _MOST:
        return dict(seconds)
    longest = set(sorted(seconds, key=lambda name: -seconds[name])[: _MOST - 1])
    kept = {name: spent for name, spent in seconds.items() if name in longest}
    return kept | {"other": sum(spent for name, spent in seconds.items() if name not in longest)}


def _text(y: int, text: str) -> str:
    return f'<text y="{y}">{escape(text)}</text>'


def _svg(height: int, *inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'style="font:11px sans-serif" fill="#888">{"".join(inside)}</svg>'
    )
