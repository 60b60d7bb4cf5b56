"""The Go comparators build from today's protos: without them, the bars against Go would be measured against nothing."""

import pytest

from bench.go_programs import SOURCES, GoMissing, go_program
from bench.processes import StartFailed
from tools import go_tools

pytestmark = [
    pytest.mark.faults,  # takes long: Go compiles grpc-go and SQLite once a machine
    pytest.mark.timeout(900),
]


@pytest.fixture(autouse=True)
def modules() -> None:
    """The modules of the programs are on this machine."""
    try:
        go_tools.run_go(["mod", "download"], SOURCES)
    except go_tools.NotBuilt as missing:
        pytest.skip(f"{missing}: install Go 1.26, and let it reach a module proxy")


def test_the_comparators_build() -> None:
    """Both programs, from the protos as they are."""
    try:
        programs = [go_program("gateway"), go_program("echo")]
    except GoMissing as missing:
        pytest.skip(str(missing))
    assert all(program.is_file() for program in programs)


def test_a_build_that_fails_is_not_a_machine_without_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skipped bar counts as reached, so only a missing tool may skip one."""
    monkeypatch.setattr("bench.go_programs.PROTO_FOLDERS", {"gateway/v1": "bench/other"})
    monkeypatch.setattr("bench.go_programs._digest", lambda: "of no build")
    try:
        with pytest.raises(StartFailed, match="cannot be built"):
            go_program("gateway")
    except GoMissing as missing:
        pytest.skip(str(missing))
