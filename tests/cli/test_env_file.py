"""`--env-file`: one run of a command is pointed at what a file describes, and at nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.config.valid_settings import WHOLE
from tests.gateway_command import gateway_command
from tests.ports import free_port


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in a folder."""
    return gateway_command(*arguments, environ=environ, folder=folder)


def env_file(folder: Path, settings: dict[str, str]) -> str:
    """A file that only its owner reads."""
    path = folder / "env"
    path.touch(mode=0o600)
    path.write_text("\n".join(f"{name}='{value}'" for name, value in settings.items()))
    return str(path)


def test_settings_come_from_the_file_alone(tmp_path: Path) -> None:
    """The database of the environment and the Redis of `.env` belong to another gateway: nothing is written there."""
    file = env_file(tmp_path, {**WHOLE, "GATEWAY_DATA_DIR": str(tmp_path / "data")})
    (tmp_path / ".env").write_text("REDIS_URL=redis://127.0.0.1:1\nGATEWAY_DEV_TOKEN_FILE=/nowhere\n")
    other = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "GATEWAY_CONFIG": "/nowhere"}
    words = ("disable", "SubmitEvent", "--reason", "a try")
    done = run(tmp_path, "--env-file", file, *words, **other)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"gateways that use {tmp_path / 'data'} follow" in done.stdout
    refused = run(tmp_path, *words, **WHOLE, **other)  # without the file, they count
    assert (refused.returncode, "GATEWAY_CONFIG" in refused.stderr) == (2, True)


def test_an_address_in_the_file_replaces_that_of_the_environment(tmp_path: Path) -> None:
    """An option replaces both."""
    ports = [free_port() for _ in range(3)]
    told, meant, given = (f"127.0.0.1:{port}" for port in ports)
    file = env_file(tmp_path, {"GATEWAY_TARGET": meant})
    assert run(tmp_path, "top", "xp", GATEWAY_TARGET=told).stderr.startswith(f"{told}: UNAVAILABLE")
    assert run(tmp_path, "--env-file", file, "top", "xp", GATEWAY_TARGET=told).stderr.startswith(f"{meant}: ")
    assert run(tmp_path, "--env-file", file, "top", "xp", "--target", given).stderr.startswith(f"{given}: ")


@pytest.mark.parametrize(
    ("text", "message"), [(None, "is missing or empty; check the path"), ("no setting\n", "line 1: is not NAME=value")]
)
def test_a_file_that_cannot_be_used_is_named(text: str | None, message: str, tmp_path: Path) -> None:
    """Exit code 2, before the command begins."""
    if text is not None:
        (tmp_path / "env").write_text(text)
    done = run(tmp_path, "--env-file", "env", "explain")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
