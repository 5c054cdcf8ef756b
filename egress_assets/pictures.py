"""Small pictures for the UI: SVG in markdown, as the only picture that Dagster's markdown shows without a server.

Pure, and no Dagster in here. Text that comes from outside is escaped, coordinates are numbers, a picture has some
hundreds of bytes: it is stored with every materialisation.
"""

import base64
from collections.abc import Mapping
from html import escape

WIDTH, HEIGHT = 480, 80
_TOP = 18  # pixels for the line above
_STEP = 16  # from one day to the next: 30 fill the width
_GREY, _BLUE, _DARK = "#8a8f98", "#7aa7e0", "#2f6fbf"
_COLOURS = ("#2f6fbf", "#e0a13a", "#4f9d69", "#b65fbf", "#c8553d", "#5f9ea0", "#8a8f98")
_MOST = 7  # parts of a bar; the rest is `other`


def markdown(svg: str, alt: str) -> str:
    """An image in markdown. `alt` is read aloud, and shown where images are not."""
    encoded = base64.b64encode(svg.encode()).decode()
    plain = "".join(c if c.isalnum() or c in " ,.:-_" else " " for c in alt)
    return f"![{plain}](data:image/svg+xml;base64,{encoded})"


def days(values: Mapping[str, int]) -> str:
    """Bytes by date (ascending) as columns, gaps left out; the last one, the run's own, is dark."""
    top = max(values.values(), default=0)
    columns = [
        f"M{n * _STEP} {HEIGHT}v{-max(1, round((HEIGHT - _TOP) * value / (top or 1)))}h{_STEP - 2}V{HEIGHT}z"
        for n, value in enumerate(values.values())
    ]
    span = " .. ".join(dict.fromkeys((min(values), max(values)))) if values else "no date"
    return _svg(
        HEIGHT,
        _text(0, 11, f"bytes a day, {span}, at most {size(top)}"),
        f'<path d="{"".join(columns[:-1])}" fill="{_BLUE}"/><path d="{"".join(columns[-1:])}" fill="{_DARK}"/>',
    )


def parts(seconds: Mapping[str, float]) -> str:
    """Where the time went: one bar, its parts in order, each named with its seconds below."""
    shown = _merged(seconds)
    total = sum(shown.values()) or 1.0
    bars, names, at = [], [], 0.0
    for n, (name, spent) in enumerate(shown.items()):
        wide, colour = WIDTH * spent / total, _COLOURS[n % len(_COLOURS)]
        bars.append(f'<rect x="{at:.1f}" y="{_TOP}" width="{max(1.0, wide):.1f}" height="18" fill="{colour}"/>')
        x, y = (n % 4) * WIDTH // 4, _TOP + 36 + 16 * (n // 4)
        names.append(f'<rect x="{x}" y="{y - 9}" width="9" height="9" fill="{colour}"/>')
        names.append(_text(x + 13, y, f"{name[:12]} {spent:.2f} s"))
        at += wide
    height = _TOP + 44 + 16 * (max(len(shown) - 1, 0) // 4)
    return _svg(height, _text(0, 11, f"where {sum(seconds.values()):.2f} s went"), *bars, *names)


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


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'


def _svg(height: int, *inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="11" fill="{_GREY}">{"".join(inside)}</svg>'
    )
