"""Writes the generated pages; with `--check` compares them and changes nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.docs import api, commands, decisions, log_fields, settings
from tools.docs.region import replaced
from tools.generate_protos import ROOT

DOCS = ROOT / "docs"


def pages() -> dict[Path, str]:
    """Return what each generated page must hold."""
    parts = {
        DOCS / "configuration.md": settings.tables(),
        DOCS / "logs.md": log_fields.tables(),
        DOCS / "cli.md": commands.overview_and_commands(),
        DOCS / "adr" / "README.md": decisions.index(DOCS / "adr"),
    }
    whole = {path: replaced(path.read_text(encoding="utf-8"), part) for path, part in parts.items()}
    return {DOCS / "api.md": api.page(), **whole}


def main() -> int:
    """Write, or compare; exit code 1: a page is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, change nothing")
    check_only: bool = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
    if check_only:
        print(f"Out of date: {names}. Run `make docs`." if stale else "The generated documentation is up to date.")
        return 1 if stale else 0
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    print(f"Wrote {names}." if stale else "Nothing changed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
