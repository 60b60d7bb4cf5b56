"""Mermaid diagrams become SVG while the site is built, so that a reader's browser runs nothing and loads nothing.

Runs inside Zensical, in the environment of the group "docs". Code hosts draw the same text by themselves.
"""

from __future__ import annotations

import hashlib
from typing import Any

_ID = "my-svg"
"""The id that the renderer gives every picture; a page with two pictures needs two."""


def as_svg(source: str, language: str, css_class: str, options: dict[str, Any], md: object, **_: Any) -> str:
    """Return the picture, as a formatter of pymdownx.superfences. Raises: what the renderer raises for a wrong text."""
    from mermaidx import render

    picture: str = render(source).svg()
    unique = "diagram-" + hashlib.sha256(source.encode()).hexdigest()[:12]
    return f'<div class="diagram">{picture.replace(_ID, unique)}</div>'
