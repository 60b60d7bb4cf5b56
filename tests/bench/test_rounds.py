"""Medians, ratios and verdicts."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bench import report
from bench.loads import Measurement, median_of
from bench.rounds import Result


def measured(per_s: float) -> Measurement:
    return Measurement(
        per_s=per_s, calls=1, server_busy=1.0, load_busy=0.1, cpu_us=1.0, p50_ms=None, p99_ms=None, faults=Counter()
    )


def result(subject: float, comparator: float, bar: float, faults: dict[str, int] | None = None) -> Result:
    return Result(
        name="case",
        against="E",
        must=bar,
        subject_per_s=subject,
        comparator_per_s=comparator,
        rounds=[{"subject_per_s": subject}],
        beside={},
        configuration={"load": "h2load"},
        faults=Counter(faults or {}),
    )


def test_one_wild_round_does_not_move_the_median() -> None:
    """Three rounds, the middle one counts."""
    assert median_of([measured(100.0), measured(9000.0), measured(110.0)]) == 110.0


@pytest.mark.parametrize(
    ("case", "is_ok", "said"),
    [
        (result(60.0, 100.0, 0.6), True, "ok"),
        (result(45.0, 100.0, 0.6), False, "missed by 25 %"),
        (result(90.0, 100.0, 0.6, {"verdict wrong": 1}), False, "wrong"),
        (result(90.0, 0.0, 0.6), False, "missed by 100 %"),
    ],
)
def test_a_bar_is_reached_only_with_right_answers(case: Result, is_ok: bool, said: str) -> None:
    """The report says by how much a bar is missed."""
    assert (case.ok, said in report.verdict(case)) == (is_ok, True)


def test_a_ratio_is_by_cpu_time_where_a_server_waited() -> None:
    """Rates of a server that waited say how long it waited."""
    waited = result(20.0, 100.0, 0.5)
    waited.cpu_ratio, waited.was_limit = 0.6, False
    assert (0.6, 0.2, True) == (waited.ratio, waited.rate_ratio, waited.ok)


def test_a_bar_without_its_comparator_is_skipped_and_says_so() -> None:
    """No Go is no failure, and no success either."""
    skipped = Result(name="case", against="G", must=0.5, skipped="Go is not installed")
    assert (True, True) == (skipped.ok, "skipped" in report.verdict(skipped))
    assert "skipped: Go is not installed" == report.rates(skipped)


def test_the_file_names_machine_and_cases(tmp_path: Path) -> None:
    """Machine, and of each case name, against, ratio, must, ok, rates, rounds, configuration."""
    report.write(tmp_path / "b.json", [result(60.0, 100.0, 0.5)], [], is_quick=False)
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["machine"]["cores"] >= 1
    assert Path(written["machine"]["python_path"]).is_file()
    case = written["results"][0]
    assert {name: case[name] for name in ("name", "against", "ratio", "must", "ok")} == {
        "name": "case",
        "against": "E",
        "ratio": 0.6,
        "must": 0.5,
        "ok": True,
    }
    assert {"subject_per_s", "comparator_per_s", "rounds", "configuration"} <= case.keys()
