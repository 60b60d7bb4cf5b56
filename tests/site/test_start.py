"""docs/start.md, followed word for word: a gateway, then a first call in each language whose tools are here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.document_lines import ROOT, texts
from tests.slow_programs import find_grpcurl
from tools.go_tools import NotBuilt

PAGE = ROOT / "docs" / "start.md"
STARTS_WITHIN_S, FOLLOWED_WITHIN_S = 120.0, 900
TOOLS = {"Python": "python3", "Go": "go", "TypeScript": "npm", "Java": "mvn", "grpcurl": "bash"}
UNREACHABLE = re.compile(
    r"No matching distribution|Failed to establish|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|dial tcp|module lookup"
)
"""What pip, npm and Go say where they reach no registry."""


def tab(name: str) -> str:
    """The part of a language."""
    found = re.search(rf"\n### {name}\n(.*?)(?=\n### |\n<!-- end of tabs)", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def script_of(part: str) -> str:
    """The commands in their order; code becomes the file that the line above it names."""
    steps = []
    for name, kind, text in re.findall(r"(?:Write `([^`]+)`[^\n]*\n\n)?```(\w+)\n(.*?)```", part, re.DOTALL):
        steps.append(text if kind == "sh" else f"cat > \"$CLONE\"/{name} <<'END_OF_CODE'\n{text}END_OF_CODE\n")
    return "\n".join(steps)


@pytest.mark.parametrize("language", ["python", "go", "typescript", "java"])
def test_the_code_is_that_of_the_client(language: str) -> None:
    """So that the tests of its README run it, too."""
    kind = "ts" if language == "typescript" else language
    (code,) = texts(PAGE, kind)
    readme = texts(ROOT / "clients" / language / "README.md", kind)[0]
    assert [line.strip() for line in readme.splitlines()] == _without_class(
        [line.strip() for line in code.splitlines()]
    )


def _without_class(lines: list[str]) -> list[str]:
    """Leave out what makes a class of Java's statements."""
    if not any(line.startswith("public class") for line in lines):
        return lines
    return [line for line in lines if not line.startswith("public ")][:-2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder that looks like the clone, and the address of the gateway of `make run` in it."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "build").mkdir()
    (ROOT / "build" / "stubs").mkdir(parents=True, exist_ok=True)
    (folder / "build" / "stubs").symlink_to(ROOT / "build" / "stubs")
    for name in (".venv", "clients"):
        (folder / name).symlink_to(ROOT / name)
    log = folder / "printed"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "tools.local", "run", "--folder", str(folder / "run"), "--free-ports"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        address = re.search(r"^gateway +(\S+)", log.read_text(), re.MULTILINE)
        assert address is not None
        yield folder, address[1]
    finally:
        process.terminate()
        process.wait(timeout=60)


def follow(script: str, clone: tuple[Path, str]) -> subprocess.CompletedProcess[str]:
    """Run the commands of a part with one bash, in the clone."""
    folder, address = clone
    text = f'make() {{ command make --no-print-directory -C {ROOT} "$@"; }}\n' + script.replace(
        "127.0.0.1:50051", address
    )
    environ = {
        **os.environ,
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "CLONE": str(folder),
        "GATEWAY_TARGET": address,
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FOLLOWED_WITHIN_S,
    )  # fmt: skip


@pytest.mark.faults
@pytest.mark.timeout(FOLLOWED_WITHIN_S + 2 * STARTS_WITHIN_S)
@pytest.mark.parametrize("language", TOOLS)
def test_a_first_call(language: str, clone: tuple[Path, str]) -> None:
    """It ends with the board, in which the event counts."""
    programs = clone[0] / "bin"
    programs.mkdir(exist_ok=True)
    if shutil.which(TOOLS[language]) is None:
        pytest.skip(f"{TOOLS[language]} is not installed")
    if language == "grpcurl":
        try:
            (programs / "grpcurl").symlink_to(find_grpcurl())
        except NotBuilt as reason:
            pytest.skip(str(reason))
    done = follow(script_of(tab(language)), clone)
    if done.returncode and UNREACHABLE.search(done.stdout + done.stderr):
        pytest.skip("the registry of the language cannot be reached")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = r'"rank":"1","user_id":"ada","score":\d+' if language == "grpcurl" else r"1n? ada \d+"
    assert re.search(shown, "".join(done.stdout.split("\n")[-3:])), done.stdout[-2000:]


@pytest.mark.faults
@pytest.mark.timeout(2 * STARTS_WITHIN_S)
def test_the_failure(clone: tuple[Path, str]) -> None:
    """The last part fails, and says what to do."""
    part = PAGE.read_text(encoding="utf-8").partition("## 3. Make it fail")[2]
    done = follow(script_of(part), clone)
    assert done.returncode == 1
    assert "phoenix-gateway explain PHOENIX_NOT_FOUND" in done.stderr
