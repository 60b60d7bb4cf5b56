"""One complete case with the baseline as the subject. This tests the harness, not the gateway."""

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.h2load import path_of_h2load


@pytest.mark.skipif(path_of_h2load() is None, reason="h2load is not installed (apt-get install nghttp2-client)")
def test_a_case_runs_and_is_written(tmp_path: Path) -> None:
    """New moves differ from call to call, are checked one by one, and the figures end in the file."""
    output = tmp_path / "bench.json"
    arguments = ["--only", "verify_wallet_new", "--subject", "baseline", "--against", "E", "--rounds", "1"]
    assert main([*arguments, "--seconds", "1", "--output", str(output)]) in (
        0,
        1,
    )  # the baseline need not reach the bar
    (result,) = json.loads(output.read_text())["results"]
    assert (result["name"], result["against"], result["faults"]) == ("verify_wallet_new", "E", {})
    assert min(result["subject_per_s"], result["comparator_per_s"], result["ratio"]) > 0


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    """A typing error must not pass as a run that measured nothing."""
    assert main(["--only", "nothing_such", "--output", str(tmp_path / "b.json")]) == 2
