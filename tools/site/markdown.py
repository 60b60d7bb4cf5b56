"""Turns a page of the repository into a page of the site: pure rules over text.

The pages are written for code hosts. Four things differ on the site: a link whose text is a file name shows the page's
title, files that are no pages cannot be linked to, a marked group of headings becomes tabs, and Python-Markdown wants
an empty line before a list and four blanks for each level.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

TABS_BEGIN, TABS_END = "<!-- tabs -->", "<!-- end of tabs -->"
_LINK = re.compile(r"(?P<code>`+[^`]*`+)|(?<!!)\[(?P<label>(?:[^\[\]`]|`[^`]*`)*)\]\((?P<target>[^()\s]+)\)")
_ITEM = re.compile(r"(?P<indent> *)(?:[-*]|\d+\.) ")


def site_page(text: str, path: str, titles: Mapping[str, str], exists: Callable[[str], bool]) -> str:
    """Return the site's text of the page at `path`.

    Args: `titles`: of all pages of the site, by their paths in the repository; `exists`: says whether a path is there.
    Raises: ValueError for a link to nothing, and for tabs without an end.
    """
    lines = list(_with_lists(text.splitlines()))
    linked = _outside_code(lines, lambda line: _links(line, path, titles, exists))
    return "\n".join(_with_tabs(linked)) + "\n"


def title_of(text: str) -> str:
    """Return the first heading of a page."""
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def _outside_code(lines: Iterable[str], change: Callable[[str], str]) -> Iterator[str]:
    in_code = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        yield line if in_code or fence else change(line)
        in_code ^= fence


def _links(line: str, path: str, titles: Mapping[str, str], exists: Callable[[str], bool]) -> str:
    def replaced(found: re.Match[str]) -> str:
        target = found["target"]
        if found["code"] or target.startswith(("#", "http://", "https://", "mailto:")):
            return found[0]
        name, hash_sign, heading = target.partition("#")
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        page = there if there in titles else f"{there}/README.md"
        label = found["label"].strip("`")
        if page in titles:
            shown = titles[page] if label.rpartition("/")[2] == posixpath.basename(page) else found["label"]
            return f"[{shown}]({posixpath.relpath(page, posixpath.dirname(path) or '.')}{hash_sign}{heading})"
        if not exists(there):
            raise ValueError(f"{path} links to {there}, which does not exist")
        return f"`{there}`" if label in (there, posixpath.basename(there)) else f"{found['label']} (`{there}`)"

    return _LINK.sub(replaced, line)


def _with_lists(lines: list[str]) -> Iterator[str]:
    """Yield the lines with an empty one before each list, and nested lists indented by four."""
    before, in_code, in_list = "", False, False
    for line in lines:
        if line.startswith("```"):
            in_code = not in_code
        item = None if in_code else _ITEM.match(line)
        if item and not item["indent"] and before.strip() and not in_list:
            yield ""
        if item:
            in_list = True
        elif line.strip() and not line.startswith(" ") and not before.strip():
            in_list = False
        indent = len(line) - len(line.lstrip(" "))
        yield " " * indent + line if in_list and not in_code and indent in (2, 3) else line
        before = line


def _with_tabs(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines with each marked group of headings as tabs. Raises: ValueError for a group without an end."""
    inside, mark = False, ""
    for line, is_code in _with_code_marks(lines):
        if line.strip() == TABS_BEGIN:
            inside, mark = True, ""
        elif line.strip() == TABS_END:
            inside = False
        elif not inside:
            yield line
        elif not is_code and (heading := re.match(r"(#+) (.+)", line)) and (not mark or heading[1] == mark):
            mark = heading[1]
            yield f'=== "{heading[2]}"'
        else:
            yield f"    {line}" if line else ""
    if inside:
        raise ValueError(f"{TABS_BEGIN} has no {TABS_END}")


def _with_code_marks(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    in_code = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        yield line, in_code or fence
        in_code ^= fence
