"""Every block of commands or code in the pages of the site is run by a test, or says in the line above it why not.

`<!-- not run: reason -->` above a block is the one form of that. RUN names the tests for all other blocks of a page.
"""

from __future__ import annotations

import pytest

from tests.deploy.document_lines import ROOT, blocks
from tools.site.navigation import navigation, pages

NO_CODE = ("text", "mermaid")
"""Drawings, and diagrams that building the site runs."""
DOCS = "tests/contracts/test_docs.py"
GUIDES, SECRETS, SIGNERS = (
    f"tests/integration/test_{name}.py" for name in ("guides", "secret_guides", "signer_guides")
)
COMPOSE = "tests/deploy/test_compose_processes.py"
RUN: dict[str, dict[str, str]] = {
    "README.md": dict.fromkeys(("", "sh", "python"), "tests/contracts/test_readme.py"),
    "clients/go/README.md": {
        "go": "tests/clients/test_go_module.py::test_the_code_of_the_readme",
        "sh": "tests/clients/test_go_module.py::test_the_commands_of_the_readme",
    },
    "clients/java/README.md": {"java": "tests/clients/test_java_client.py::test_the_readme"},
    "clients/python/README.md": {"python": "clients/python/client_tests/test_readme.py"},
    "clients/typescript/README.md": {"ts": "tests/clients/test_typescript_client.py::test_the_readme"},
    "deploy/prometheus/README.md": {"sh": GUIDES},
    "docs/calling.md": {"": GUIDES},
    "docs/cli.md": {"sh": "tests/cli/test_manners.py::test_an_example_parses"},
    "docs/compose.md": {"sh": f"{COMPOSE}::test_a_call_of_the_document_runs"},
    "docs/configuration.md": {
        "": f"{DOCS}::test_the_smallest_configuration_names_settings",
        "toml": f"{DOCS}::test_the_toml_example_is_a_configuration",
    },
    "docs/console.md": {"toml": f"{DOCS}::test_the_policy_of_the_console_opens_every_page"},
    "docs/evidence.md": {"sh": GUIDES},
    "docs/incidents.md": {"sh": GUIDES},
    "docs/kill-switches.md": {"": GUIDES},
    "docs/operating.md": {"": GUIDES},
    "docs/policy.md": {
        "sh": f"{DOCS}::test_a_policy_command_runs",
        "toml": f"{DOCS}::test_the_policy_example_is_a_policy",
    },
    "docs/production.md": {"sh": GUIDES},
    "docs/reconcile.md": {"sh": GUIDES},
    "docs/sandbox.md": dict.fromkeys(("sh", "json"), f"{GUIDES}::test_what_dev_prints"),
    **{f"docs/secrets-{name}.md": dict.fromkeys(("ini", "sh"), SECRETS) for name in ("aws", "gcp", "vault")},
    **{f"docs/signers-{name}.md": dict.fromkeys(("", "sh"), SIGNERS) for name in ("aws", "gcp", "pkcs11", "transit")},
    "docs/start.md": dict.fromkeys(("go", "java", "python", "sh", "ts", "xml"), "tests/site/test_start.py"),
    "docs/upgrade.md": {"sh": GUIDES},
    "docs/wallet.md": {"": GUIDES},
}
"""The test that runs the blocks of a page, for each kind of them."""
PAGES = sorted({*pages(navigation(ROOT)), *RUN})


@pytest.mark.parametrize("page", PAGES)
def test_a_block_is_run_or_says_why_not(page: str) -> None:
    """Each kind of code that is not marked has its test, and no other kind has one."""
    left = {one.kind: one.line for one in blocks(ROOT / page) if one.kind not in NO_CODE and not one.not_run}
    assert left.keys() == RUN.get(page, {}).keys(), left


@pytest.mark.parametrize("test", sorted({test for kinds in RUN.values() for test in kinds.values()}))
def test_the_named_tests_exist(test: str) -> None:
    """A renamed test would leave its page without one."""
    name, _, function = test.partition("::")
    assert f"def {function or 'test_'}" in (ROOT / name).read_text(encoding="utf-8")
