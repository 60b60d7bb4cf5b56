"""`phoenix-gateway policy`: its output and exit codes, as a process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.gateway_command import gateway_command

pytestmark = pytest.mark.timeout(200)  # processes are started, on a machine that may be busy
KNOWN = {"TENANT_ID": "one", "PREDICTION_OPERATOR_CODE": "acme", "PREDICTION_ENVIRONMENT": "sandbox"}
OLD = """
[[callers]]
name = "game"
ids = ["game.internal"]
allow = ["tokens.mint.launch", "boards.watch"]
tenants = ["one"]
operators = ["acme/sandbox"]
max_token_ttl_s = 300

[[callers]]
name = "gone"
ids = ["gone.internal"]
allow = ["KeyService/ListKeys"]
"""
NEW = """
[[callers]]
name = "game"
ids = ["game.internal"]
allow = ["tokens.mint.launch", "keys.refresh"]
tenants = ["one"]
operators = ["*"]
max_token_ttl_s = 600
"""


def policy(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command away from any `.env`."""
    own = {"NO_COLOR": "1", **KNOWN, **environ}
    return gateway_command("policy", *arguments, environ=own, folder=Path("/"), timeout_s=100)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The two policies."""
    found = tmp_path / "old.toml", tmp_path / "new.toml"
    for path, text in zip(found, (OLD, NEW), strict=True):
        path.write_text(text)
    return found


def test_a_policy_that_can_be_used_is_said_to_be(files: tuple[Path, Path]) -> None:
    """Exit code 0; no secret has to be there."""
    done = policy("check", files[0])
    assert (0, "", True) == (done.returncode, done.stderr, "2 callers" in done.stdout)
    assert {"usable": True, "faults": [], "warnings": []} == json.loads(policy("check", files[0], "--json").stdout)


def test_the_file_may_come_from_the_environment(files: tuple[Path, Path]) -> None:
    """As the gateway takes it."""
    assert 0 == policy("check", GATEWAY_CONFIG=str(files[0])).returncode
    assert (2, "No policy is named. Name a file, or set GATEWAY_CONFIG.\n") == (
        policy("check").returncode,
        policy("check").stderr,
    )


def test_every_fault_is_named_with_its_place(tmp_path: Path) -> None:
    """Exit code 2 for an unknown tenant, an unknown right and a misspelt key."""
    path = tmp_path / "bad.toml"
    path.write_text('[[callers]]\nname = "a"\ntenants = ["two"]\nallow = ["boards.reed"]\nlimit = 3\n')
    done = policy("check", path)
    assert 2 == done.returncode
    places = ("callers[0].tenants[0]: ", "callers[0].allow[0]: is no right and no method; did you mean boards.read?")
    assert [] == [one for one in (*places, "callers[0].limit: ") if one not in done.stderr]
    reported = json.loads(policy("check", path, "--json").stdout)
    assert (False, 3) == (reported["usable"], len(reported["faults"]))


def test_what_can_never_be_used_is_a_warning(tmp_path: Path) -> None:
    """A caller without a possible identity, and rights for tenants without a tenant."""
    path = tmp_path / "odd.toml"
    path.write_text('[[callers]]\nname = "a"\nallow = ["boards.read", "tokens.mint.launch"]\n')
    done = policy("check", path)
    assert (0, 3) == (done.returncode, done.stdout.count("(warning) "))


def test_the_matrix_shows_who_may_call_what_for_whom(files: tuple[Path, Path]) -> None:
    """Methods down, callers across; bounds below."""
    done = policy("matrix", files[0])
    rows = {line.split()[0]: line.split()[2:] for line in done.stdout.splitlines() if "/" in line.split(" ")[0]}
    assert ["acme/sandbox", "-"] == rows["TokenService/MintLaunchJWT"]
    assert ["one", "-"] == rows["LeaderboardService/WatchLeaderboard"]
    assert ["-", "yes"] == rows["KeyService/ListKeys"]
    assert ["yes", "yes"] == rows["Health/Check"]
    assert "longest token: 300 s" in done.stdout


def test_the_matrix_of_one_caller(files: tuple[Path, Path]) -> None:
    """Only its rows; an unknown name is reported."""
    cells = json.loads(policy("matrix", files[0], "--caller", "gone", "--json").stdout)["cells"]
    assert {"gone"} == {cell["caller"] for cell in cells}
    assert {"phoenix.gateway.v1.KeyService/ListKeys"} == {
        cell["method"] for cell in cells if cell["allowed"] and cell["right"] not in ("health",)
    }
    assert 2 == policy("matrix", files[0], "--caller", "nobody").returncode


def test_a_difference_is_what_is_gained_and_lost(files: tuple[Path, Path]) -> None:
    """Exit code 1, also for rights to unknown names and for changed limits."""
    done = policy("diff", *files)
    assert 1 == done.returncode
    lines = done.stdout.splitlines()
    assert {
        "+ game  KeyService/RefreshPlatformKey  acme/sandbox",
        "+ game  KeyService/RefreshPlatformKey  */*",
        "+ game  TokenService/MintLaunchJWT  */*",
        "- game  LeaderboardService/WatchLeaderboard  one",
        "- gone  KeyService/ListKeys",
        "~ game: longest token: 300 s -> 600 s",
        "~ gone: identities: gone.internal -> none",
    } <= set(lines)
    assert [] == [line for line in lines if "MintLaunchJWT  acme/sandbox" in line]
    reported = json.loads(policy("diff", *files, "--json").stdout)
    assert len(lines) == len(reported["gained"]) + len(reported["lost"]) + len(reported["bounds"])


def test_the_same_policy_has_no_difference(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Exit code 0, whatever the order; 2 where one cannot be used."""
    (tmp_path / "same.toml").write_text("[[callers]]".join(["", *reversed(OLD.split("[[callers]]")[1:])]))
    done = policy("diff", files[0], tmp_path / "same.toml")
    assert (0, "Both policies are equal.\n") == (done.returncode, done.stdout)
    assert 2 == policy("diff", files[0], tmp_path / "missing.toml").returncode
