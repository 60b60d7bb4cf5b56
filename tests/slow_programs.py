"""Programs that take minutes to build with Go: built before the long tests begin, and used by the short ones then.

`python -m tests.slow_programs` builds those that are missing, once a machine. What cannot be built is said and skipped.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.vault_process import program as find_vault
from tools.go_tools import NotBuilt, installed

_HELM = ("helm.sh/helm/v3/cmd/helm", "v3.19.0")
_GRPCURL = ("github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.3")


def find_helm() -> Path:
    """Return Helm, from the PATH or built. Raises: NotBuilt."""
    return _found_or_built("helm", *_HELM)


def find_grpcurl() -> Path:
    """Return grpcurl, from the PATH or built. Raises: NotBuilt."""
    return _found_or_built("grpcurl", *_GRPCURL)


def _found_or_built(name: str, package: str, version: str) -> Path:
    on_path = shutil.which(name)
    return installed(package, version, slow=True) if on_path is None else Path(on_path)


def main() -> int:
    """Build each in turn, because each uses all cores."""
    wanted: dict[str, Callable[[], Path]] = {"grpcurl": find_grpcurl, "Helm": find_helm, "Vault": find_vault}
    for number, (name, find) in enumerate(wanted.items(), 1):
        print(f"[{number}/{len(wanted)}] {name}: looking for it, or building it for some minutes", flush=True)
        began = time.monotonic()
        try:
            find()
        except NotBuilt as reason:
            print(f"  its tests are skipped: {reason}", file=sys.stderr, flush=True)
        else:
            print(f"  there after {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
