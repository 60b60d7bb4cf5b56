"""The limit of calls at work: it follows their latency, and whether the process is busy."""

from __future__ import annotations

import pytest

from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.fair_queue import Priority
from tests.front.http2.test_admission import Waiting

WINDOW_S = 0.1


class Process:
    """Calls at work, always as many as may be; 30 of them end in each window."""

    def __init__(self, *, busy: float = 0.0, most: float = float("inf"), **settings: float) -> None:
        self.admission: Admission[Waiting] = Admission(AdmissionSettings(window_s=WINDOW_S, **settings))  # type: ignore[arg-type]
        self._busy, self._most, self._now = busy, most, 0.0

    def works(self, windows: int, latency_s: float) -> float:
        """Let calls take so long; return the limit after that."""
        admission = self.admission
        for _ in range(windows):
            self._now += WINDOW_S
            admission.turn(self._now, self._busy * self._now)
            for _ in range(30):
                while admission.running < min(self._most, admission.limit):
                    admission.turn(self._now, self._busy * self._now)
                    admission.offer(Waiting(), "a", Priority.READ, self._now)
                if self._most > admission.limit:
                    admission.offer(Waiting(), "a", Priority.READ, self._now)  # one waits
                admission.done("m", latency_s, self._now)
        return admission.limit


def test_the_limit_shrinks_with_slowness_and_grows_back() -> None:
    """Twenty times the usual latency lowers it in steps; usual latency lets it grow while calls wait for it."""
    process = Process(first_limit=100.0, min_limit=2.0)
    usual, slow, again = (process.works(20, latency_s) for latency_s in (0.01, 0.2, 0.01))
    assert 100.0 < usual > slow < again


@pytest.mark.parametrize(("busy", "least"), [(0.5, 50.0), (1.0, 5.0)])
def test_a_busy_process_has_fewer_calls_at_work(busy: float, least: float) -> None:
    """Calls that take twenty times as long as usual: where the process has time, they wait for Phoenix."""
    process = Process(busy=busy, first_limit=100.0, min_limit=50.0, busy_min_limit=5.0, max_limit=100.0)
    process.works(40, 0.01)
    assert least <= process.works(40, 0.2) < least + 5


def test_a_busy_process_keeps_as_many_at_work_as_it_finishes() -> None:
    """300 a second that usually take 0.1 s are 30 at work; with fewer the process would wait for Phoenix."""
    process = Process(busy=1.0, first_limit=100.0, busy_min_limit=5.0, max_limit=100.0)
    process.works(40, 0.1)
    assert 45 <= process.works(100, 2.0) < 50


def test_a_busy_process_finds_its_limit_soon() -> None:
    """It begins with what is at work, far below the limit that is set."""
    process = Process(busy=1.0, most=200.0)
    process.works(6, 0.01)
    assert process.works(6, 0.2) < 200
