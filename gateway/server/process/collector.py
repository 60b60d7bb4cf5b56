"""How garbage is collected once a process serves. docs/adr/0024 says what each setting wins."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 5_000


def set_up_collector() -> None:
    """Let collections walk only what calls leave behind: neither what the start has made nor calls under way.

    Fifty calls at once make thousands of objects and free them soon. With Python's 700 or 2,000, a collection
    runs in the midst of them and counts them among the old ones, which brings on the next full collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
