"""Small line plots as inline SVG, without a script. A screen reader gets the title, which says range and last value."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 240, 48


def line_plot(values: Sequence[float | None], title: str, kind: str = "line") -> Markup:
    """Return a plot of values in equal steps, the last at the right. None: nothing is known. `kind`: a CSS class."""
    known = [value for value in values if value is not None]
    top = max([*known, 0.0]) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    parts, is_drawing = [], False
    for place, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        parts.append(f"{'L' if is_drawing else 'M'}{place * step:.1f} {HEIGHT - 2 - value / top * (HEIGHT - 4):.1f}")
        is_drawing = True
    last = f"{known[-1]:.3g}" if known else "none"
    label = f"{title}: last {last}, highest {max(known):.3g}" if known else f"{title}: no data"
    return Markup(
        '<svg class="plot {}" viewBox="0 0 {} {}" role="img" preserveAspectRatio="none"><title>{}</title>'
        '<path d="{}" fill="none" vector-effect="non-scaling-stroke"/></svg>'
    ).format(kind, WIDTH, HEIGHT, label, " ".join(parts))
