"""`python -m tests.integration.collecting_gateway serve`: a gateway that says at its end how garbage is collected."""

import atexit
import gc
import sys

from gateway.cli.entry import main

if __name__ == "__main__":
    atexit.register(lambda: print(f"collections: {gc.isenabled()}, {gc.get_threshold()}", file=sys.stderr))
    main()
