"""No two modules of the gateway import each other, not even by a third one or for a type checker only."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp


def test_no_modules_import_each_other() -> None:
    """A module can be read, and tested, after those it imports: there is such an order for all of them."""
    graph = grimp.build_graph("gateway", cache_dir=None, exclude_type_checking_imports=False)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    cycle: list[str] = []
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as found:
        cycle = found.args[1]
    assert [] == cycle
