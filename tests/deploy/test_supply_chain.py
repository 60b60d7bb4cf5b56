"""The gateway's packages are pinned and their licences allowed. A check that cannot run reports so."""

from __future__ import annotations

import tomllib
from email.message import Message
from pathlib import Path
from typing import Any, cast

import pytest

from tools import supply_chain
from tools.supply_chain import ROOT

GOOD = {"hash": "sha256:00"}


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


def test_the_lock_names_a_hash_for_every_file(lock: dict[str, Any]) -> None:
    """And every package comes from a registry."""
    assert list(supply_chain.lock_faults(lock)) == []


def test_the_licences_of_what_runs_are_allowed(lock: dict[str, Any]) -> None:
    """As the installed packages say themselves."""
    names = supply_chain.runtime_packages(lock)
    assert ({"grpcio", "cryptography", "protobuf"} <= names, "pytest" in names) == (True, False)
    assert list(supply_chain.licence_faults(names)) == []


@pytest.mark.parametrize(
    ("package", "reported"),
    [
        ({"source": {"git": "https://x"}, "wheels": [GOOD]}, "comes from git, not from a registry"),
        ({"source": {"registry": "r"}, "wheels": [GOOD, {"url": "u"}]}, "has a file without a SHA-256 in uv.lock"),
        ({"source": {"registry": "r"}, "sdist": {"hash": "md5:00"}}, "has a file without a SHA-256 in uv.lock"),
        ({"source": {"registry": "r"}}, "has a file without a SHA-256 in uv.lock"),
    ],
    ids=["git", "no hash", "weak hash", "no files"],
)
def test_what_is_not_pinned_is_a_fault(package: dict[str, Any], reported: str) -> None:
    """A branch can change, and so can a file without a hash."""
    assert list(supply_chain.lock_faults({"package": [{"name": "p", **package}]})) == [f"p {reported}"]


class Package:
    """An installed package with this licence text."""

    def __init__(self, **said: str) -> None:
        self.metadata = Message()
        for name, value in said.items():
            self.metadata[name.replace("_", "-")] = value


@pytest.mark.parametrize(
    ("said", "licences"),
    [
        ({"License_Expression": "MIT"}, {"MIT"}),
        ({"License_Expression": "GPL-3.0-only OR Apache-2.0"}, {"Apache-2.0"}),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, {"MIT", "GPL-3.0-only"}),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, {"BSD-3-Clause"}),
        ({"License": "Apache License 2.0"}, {"Apache-2.0"}),
        ({"License": "proprietary"}, set()),
        ({}, set()),
    ],
)
def test_licences_are_read_as_they_are_written(said: dict[str, str], licences: set[str]) -> None:
    """By expression, classifier or text. An unknown text gives no licence, which is a fault."""
    assert supply_chain.licences_of(cast("Any", Package(**said))) == licences


def test_advisories_that_cannot_be_asked_for_are_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without uv, or with one that cannot reach anything."""
    monkeypatch.setattr(supply_chain, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, reported = supply_chain.advisories()
    assert (code, "NOT CHECKED" in reported) == (supply_chain.COULD_NOT_RUN, True)
    fake = tmp_path / "uv"
    fake.write_text('#!/bin/sh\n[ "$1" = export ] && exit 0\nexit 1\n')
    fake.chmod(0o755)
    code, reported = supply_chain.advisories()
    assert (code, "NOT CHECKED" in reported) == (supply_chain.COULD_NOT_RUN, True)
