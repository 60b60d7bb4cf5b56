"""`python -m gateway.evidence_verify EXPORT [--head FILE] ...`: the check without the rest of the program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.evidence_verify.command import run


def main() -> int:
    """Read the arguments and verify; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway.evidence_verify", description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("--head", type=Path, action="append", default=[])
    parser.add_argument("--key", type=Path, action="append", default=[])
    parser.add_argument("--platform-key", type=Path, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    return run(given.export, given.head, given.key, given.platform_key, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
