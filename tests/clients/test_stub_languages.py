"""`make stubs LANGUAGE=...`: which languages are built, and what is said of those that are not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools import stub_languages
from tools.generate_protos import ROOT

PROTOS = {"protos", "imports", "plain", "descriptors.binpb", "buf.yaml", "buf.gen.yaml"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is written in place of build/stubs/."""
    monkeypatch.setattr("tools.stubs.STUBS", tmp_path / "stubs")
    return tmp_path / "stubs"


def names(folder: Path) -> set[str]:
    """What is in the folder, templates of buf left out."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("buf.gen.")}


def test_one_language_is_built_alone(folder: Path) -> None:
    """And replaces its own files only."""
    (folder / "go" / "old").mkdir(parents=True)
    (folder / "java").mkdir()
    assert stub_languages.main(["go"]) == 0
    assert names(folder) == {"README.md", "go", "java"}
    assert not (folder / "go" / "old").exists()


def test_several_languages(folder: Path) -> None:
    """Separated by spaces or commas, in any case of their letters; an old wheel is not left beside the new one."""
    folder.mkdir()
    (folder / "phoenix_gateway_client-0.0.1-py3-none-any.whl").touch()
    assert stub_languages.main(["Python, protos"]) == 0
    (wheel,) = folder.glob("*.whl")
    assert "-0.0.1-" not in wheel.name
    assert names(folder) == {"README.md", wheel.name, *(PROTOS - {"buf.gen.yaml"})}
    assert {path.name for path in (folder / "plain").iterdir()} >= {"protos", "imports", "buf.yaml"}


@pytest.mark.parametrize("given", ["rust", "go,rust"])
def test_an_unknown_language_names_the_known_ones(folder: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    """Before anything is built."""
    assert stub_languages.main([given]) == 2
    assert capsys.readouterr().err == (
        "make stubs: LANGUAGE=rust is unknown; choose from python, go, typescript, java, protos.\n"
    )
    assert not folder.exists()


def test_without_its_tools_a_language_is_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All others are built, and the output says why. Files of an earlier run are gone."""
    (folder / "java").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(folder.parent))
    assert stub_languages.main([]) == 0
    assert {"go", "protos"} <= names(folder)
    assert "java" not in names(folder)
    printed = capsys.readouterr().out
    assert "SKIPPED java: the Java client needs a JDK, which is not installed.\n" in printed
    assert "SKIPPED typescript: the TypeScript client is built with npm, which is not installed.\n" in printed


def test_without_its_tools_a_named_language_is_a_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asked for it needs it. The other named ones are built."""
    monkeypatch.setenv("PATH", str(folder.parent))
    assert stub_languages.main(["java", "go"]) == 1
    assert names(folder) == {"README.md", "go"}
    said = capsys.readouterr().err
    assert said == "make stubs: java was not built: the Java client needs a JDK, which is not installed.\n"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [([], "''"), (["LANGUAGE=go"], "'go'"), (["LANGUAGE=go java"], "'go java'"), (["LANGUAGE="], "''")],
)
def test_make_passes_the_languages(given: list[str], wanted: str) -> None:
    """But not LANGUAGE of the environment: gettext reads the language of messages from it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--dry-run", "stubs", *given],
        cwd=ROOT, env={**environ, "LANGUAGE": "en_US:en"}, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f".venv/bin/python -m tools.stub_languages {wanted}"
