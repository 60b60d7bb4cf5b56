"""`python -m gateway.evidence_verify EXPORT [--head FILE] ...` verifies an evidence export offline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.evidence_verify.command import run


def main() -> int:
    """Read the arguments, verify the export and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway.evidence_verify", description=__doc__)
    parser.add_argument("export", type=Path, help="output of `evidence export --format jsonl`")
    parser.add_argument("--head", type=Path, action="append", default=[], help="head that was stored elsewhere")
    parser.add_argument("--key", type=Path, action="append", default=[], help="public key (PEM) of the gateway")
    parser.add_argument("--platform-key", type=Path, action="append", default=[], help="public key (PEM) of Phoenix")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    return run(arguments.export, arguments.head, arguments.key, arguments.platform_key, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
