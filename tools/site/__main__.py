"""Writes build/site from the pages of the repository. A warning of Zensical, or a load from another host, is an error.

Needs the packages of the group "docs"; they are installed into .venv-docs at the versions of uv.lock, and only here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.generate_protos import ROOT
from tools.site.markdown import site_page, title_of
from tools.site.navigation import navigation, pages

FORM = ROOT / "tools" / "site"
ENVIRONMENT = ROOT / ".venv-docs"
INSTALL_WITHIN_S, BUILD_WITHIN_S = 300, 240
_LOADS = re.compile(
    r"""<(?:script|link|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|href|srcset|data)\s*=\s*["']?\s*(?:https?:)?//[^\s"'>]+"""
    r"""|url\(\s*["']?(?:https?:)?//[^)]+\)|@import\s+["'](?:https?:)?//[^"']+""",
    re.IGNORECASE,
)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class NotInstalled(Exception):
    """The packages of the group "docs" cannot be installed; the text says why."""


def install() -> Path:
    """Return the Python that has Zensical, installed if it is missing or out of date. Raises: NotInstalled."""
    command = [str(ROOT / ".tools" / "bin" / "uv"), "sync", "--quiet", "--frozen", "--only-group", "docs"]
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environ |= {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT), "UV_PYTHON_DOWNLOADS": "never"}
    try:
        done = subprocess.run(
            [*command, "--python", sys.executable],
            cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_WITHIN_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"the packages of the site cannot be installed ({type(error).__name__})") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotInstalled(f"the packages of the site cannot be installed: {last}")
    return ENVIRONMENT / "bin" / "python"


def build(target: Path, work: Path) -> None:
    """Write the site to `target`; `work` receives what Zensical reads. Raises: NotInstalled, SystemExit for faults."""
    python = install()
    entries = navigation(ROOT)
    _write_pages(work / "pages", list(pages(entries)))
    given = {"docs_dir": "pages", "site_dir": "site", "nav": entries}  # JSON is YAML
    form = "".join(f"{name}: {json.dumps(value)}\n" for name, value in given.items())
    (work / "site.yml").write_text((FORM / "site.yml").read_text(encoding="utf-8") + form, encoding="utf-8")
    done = subprocess.run(
        [python, "-m", "zensical", "build", "--strict", "--clean", "-f", work / "site.yml"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=BUILD_WITHIN_S,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"make docs: Zensical found faults:\n{_COLOURS.sub('', done.stdout + done.stderr)}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(work / "site", target)
    if foreign := list(loads_from_other_hosts(target)):
        raise SystemExit("make docs: the site would load from other hosts:\n" + "\n".join(foreign))


def _write_pages(folder: Path, listed: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in listed}
    titles = {path: title_of(text) for path, text in texts.items()}
    for path, text in texts.items():
        page = folder / path
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(site_page(text, path, titles, lambda name: (ROOT / name).exists()), encoding="utf-8")
    shutil.copytree(FORM / "assets", folder / "assets")
    shutil.copytree(ROOT / "docs" / "images", folder / "docs" / "images")


def loads_from_other_hosts(site: Path) -> Iterator[str]:
    """Yield each script, style, picture or font of a page or style that a browser would load from another host."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            yield from (f"{path.relative_to(site)}: {found[0][:120]}" for found in _LOADS.finditer(text))


def main() -> int:
    """Build; exit code 1: a fault, or the packages cannot be installed."""
    target = ROOT / "build" / "site"
    try:
        build(target, ROOT / "build" / "site-source")
    except NotInstalled as reason:
        print(f"make docs: {reason}. The pages are generated, the site is not built.", file=sys.stderr)
        return 1
    print(f"Built the site: open {target.relative_to(ROOT)}/index.html.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
