"""docs/sandbox.md names every route, fault and setting of the control port, and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from gateway.sandbox import faults
from gateway.sandbox.settings import Settings
from gateway.sandbox.wallet_webhooks import FORGERIES, MEMBERS
from tests.sandbox_process import SandboxProcess

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
ROUTES = re.findall(r"`(GET|POST|DELETE) (/[A-Za-z/]+)`", TEXT)


def chapter(title: str) -> str:
    """The text below a heading."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(title: str) -> set[str]:
    """The names in the first column of the tables of a chapter."""
    rows = [line.split("|")[1] for line in chapter(title).splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row)}


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_documented_route_exists(sandbox: SandboxProcess, route: tuple[str, str]) -> None:
    """It refuses the request at most, and is not unknown."""
    method, path = route
    path = path.replace("TENANT", "tenant-test-001").replace("BOARD", "b").replace("ID", "1")
    request = Request(sandbox.urls["control"] + path, data=b"{}" if method == "POST" else None, method=method)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
            status = answer.status
    except HTTPError as refused:
        status = refused.code
    assert status in (200, 400)


def test_every_route_is_documented() -> None:
    """The modules of the control port hold no other."""
    code = "".join(path.read_text(encoding="utf-8") for path in Path(faults.__file__).parent.glob("control*.py"))
    found = set(re.findall(r"\(\"(GET|POST|DELETE)\", \"(/[a-z/]+)\"\)", code))
    assert len(found) > 15
    assert found - set(ROUTES) == set()


def test_faults_and_settings_are_documented() -> None:
    """Each kind, member and setting."""
    assert first_column("Faults") == set(faults.KINDS) | faults._MEMBERS
    assert first_column("Settings") == {field.name for field in fields(Settings)}
    named = set(re.findall(r"`([a-z_0-9]+)`", chapter("Webhooks")))
    assert named >= MEMBERS | (set(FORGERIES) - {"none"})


def test_what_acts_is_as_documented() -> None:
    """The column `acts` of the kinds."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (yes|no) \|", chapter("Faults"), re.MULTILINE)
    assert {kind for kind, acts in rows if acts == "yes"} == {*faults.ACTS_FIRST, "delay"}
