"""The limit of calls at work: it follows their latency, and whether the process is busy."""

from __future__ import annotations

import pytest

from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.fair_queue import Priority
from tests.front.http2.test_admission import Waiting


def test_the_limit_shrinks_with_slowness_and_grows_back() -> None:
    """Twenty times the usual latency lowers it in steps; usual latency lets it grow while calls wait for it."""
    admission: Admission[Waiting] = Admission(AdmissionSettings(first_limit=100.0, min_limit=2.0))
    now = 0.0
    for latency, direction in ((0.01, 1), (0.2, -1), (0.01, 1)):
        before = admission.limit
        for _ in range(20):
            now += 0.1
            admission.turn(now)
            for _ in range(30):
                while admission.running < admission.limit:
                    admission.turn(now)
                    admission.offer(Waiting(), "a", Priority.READ, now)
                admission.offer(Waiting(), "a", Priority.READ, now)
                admission.done("m", latency, now)
        assert (admission.limit > before) is (direction > 0)


@pytest.mark.parametrize(("busy", "least"), [(0.5, 50.0), (1.0, 5.0)])
def test_a_busy_process_has_fewer_calls_at_work(busy: float, least: float) -> None:
    """Calls that take twenty times as long as usual: where the process has time, they wait for Phoenix."""
    admission: Admission[Waiting] = Admission(
        AdmissionSettings(first_limit=100.0, min_limit=50.0, busy_min_limit=5.0, max_limit=100.0)
    )
    now = 0.0
    for latency in (0.01, 0.2):
        for _ in range(40):
            now += 0.1
            admission.turn(now, busy * now)
            for _ in range(30):
                while admission.running < admission.limit:
                    admission.turn(now, busy * now)
                    admission.offer(Waiting(), "a", Priority.READ, now)
                admission.offer(Waiting(), "a", Priority.READ, now)
                admission.done("m", latency, now)
    assert least <= admission.limit < least + 5


def test_a_busy_process_keeps_as_many_at_work_as_it_finishes() -> None:
    """300 a second that usually take 0.1 s are 30 at work; with fewer the process would wait for Phoenix."""
    admission: Admission[Waiting] = Admission(
        AdmissionSettings(first_limit=100.0, busy_min_limit=5.0, max_limit=100.0, usual_share=0.0)
    )
    now = 0.0
    for latency in (0.1, 2.0):
        for _ in range(40):
            now += 0.1
            admission.turn(now, now)
            for _ in range(30):
                while admission.running < admission.limit:
                    admission.turn(now, now)
                    admission.offer(Waiting(), "a", Priority.READ, now)
                admission.offer(Waiting(), "a", Priority.READ, now)
                admission.done("m", latency, now)
    assert 45 <= admission.limit < 50


def test_a_busy_process_finds_its_limit_soon() -> None:
    """It begins with what is at work, far below the limit that is set."""
    admission: Admission[Waiting] = Admission()
    now = 0.0
    for latency in (0.01, 0.2):
        for _ in range(6):
            now += 0.1
            admission.turn(now, now)
            for _ in range(30):
                while admission.running < min(200, admission.limit):
                    admission.turn(now, now)
                    admission.offer(Waiting(), "a", Priority.READ, now)
                admission.done("m", latency, now)
    assert admission.limit < 200
