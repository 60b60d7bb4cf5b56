"""Every block of commands or code in the pages of the site is run by a test, or says in the line above it why not.

`<!-- not run: reason -->` above a block is the one form of that. RUN names the tests for all other blocks of a page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.document_lines import ROOT
from tools.site.navigation import navigation, pages

NO_CODE = ("text", "mermaid")
"""Drawings, and diagrams that building the site runs."""
NOT_RUN = re.compile(r"\s*<!-- not run: .{10,} -->")
GUIDES, SECRETS, SIGNERS = (
    f"tests/integration/test_{name}.py" for name in ("guides", "secret_guides", "signer_guides")
)
RUN = {
    "README.md": "tests/contracts/test_readme.py",
    "clients/go/README.md": "tests/clients/test_go_module.py::test_the_code_of_the_readme",
    "clients/java/README.md": "tests/clients/test_java_client.py::test_the_readme",
    "clients/python/README.md": "clients/python/client_tests/test_readme.py",
    "clients/typescript/README.md": "tests/clients/test_typescript_client.py::test_the_readme",
    "deploy/prometheus/README.md": GUIDES,
    "docs/calling.md": GUIDES,
    "docs/cli.md": "tests/cli/test_manners.py::test_an_example_parses",
    "docs/compose.md": "tests/deploy/test_compose_processes.py::test_a_call_of_the_document_runs",
    "docs/configuration.md": "tests/contracts/test_docs.py::test_the_toml_example_is_a_configuration",
    "docs/evidence.md": GUIDES,
    "docs/incidents.md": GUIDES,
    "docs/kill-switches.md": GUIDES,
    "docs/operating.md": GUIDES,
    "docs/policy.md": "tests/contracts/test_docs.py::test_a_policy_command_runs",
    "docs/production.md": GUIDES,
    "docs/reconcile.md": GUIDES,
    "docs/sandbox.md": GUIDES,
    "docs/secrets-aws.md": SECRETS,
    "docs/secrets-gcp.md": SECRETS,
    "docs/secrets-vault.md": SECRETS,
    "docs/signers-aws.md": SIGNERS,
    "docs/signers-gcp.md": SIGNERS,
    "docs/signers-pkcs11.md": SIGNERS,
    "docs/signers-transit.md": SIGNERS,
    "docs/start.md": "tests/site/test_start.py",
    "docs/upgrade.md": GUIDES,
    "docs/wallet.md": GUIDES,
}
PAGES = sorted({*pages(navigation(ROOT)), *RUN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block, also one inside a list."""

    kind: str
    line: int
    not_run: bool


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks that are code."""
    found: list[Block] = []
    open_fence, before = False, ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            if not open_fence:
                found.append(
                    Block(kind=line.strip().strip("`"), line=number, not_run=NOT_RUN.fullmatch(before) is not None)
                )
            open_fence = not open_fence
        before = line
    return [one for one in found if one.kind not in NO_CODE]


@pytest.mark.parametrize("page", PAGES)
def test_a_block_is_run_or_says_why_not(page: str) -> None:
    """A page with code that is not marked has its test, and a page without has none."""
    left = [one.line for one in blocks_of(ROOT / page) if not one.not_run]
    assert bool(left) == (page in RUN), f"{page}, lines {left}"


@pytest.mark.parametrize("test", sorted(set(RUN.values())))
def test_the_named_tests_exist(test: str) -> None:
    """A renamed test would leave its page without one."""
    name, _, function = test.partition("::")
    assert f"def {function or 'test_'}" in (ROOT / name).read_text(encoding="utf-8")
