"""The pages of docs/: generated parts are fresh, links lead somewhere, examples are read, commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gateway.cli.main import app
from gateway.config import names
from gateway.config.policy_file import read_policy
from gateway.core.types import Environment
from tests.config.valid_settings import LAUNCH_KEY, NO_ENV_FILE, TENANT, loaded
from tests.deploy.document_lines import ROOT, shell_lines, texts
from tools.docs.__main__ import pages

DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def toml_example(page: str) -> str:
    """The only TOML block of a page."""
    (text,) = texts(DOCS / page, "toml")
    return text


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_generated_page_is_fresh(path: Path) -> None:
    """`make docs` was run after the last change."""
    assert path.read_text(encoding="utf-8") == pages()[path]


def test_every_setting_is_in_the_tables_once() -> None:
    """And nothing is in the tables that is no setting."""
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    named = [name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)]
    settings = names.PROCESS + names.TENANT_OWN + names.TENANT_SHARED + names.OPERATOR_OWN + names.OPERATOR_SHARED
    assert sorted(named) == sorted([names.CONFIG_FILE, *names.with_files(settings)])


def test_every_command_has_a_section() -> None:
    """Users cannot find a command that is not documented."""
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert [path for path, _ in commands() if f"\n### {path}\n" not in page] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each file exists, and each heading that a link names."""
    broken = []
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, heading = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    "path", [one for one in PAGES if one.parent.name != "adr"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_files_that_a_page_names_exist(path: Path) -> None:
    """Documents name existing modules. Decision records may name modules of their time."""
    named = set(re.findall(r"`((?:gateway|tests|tools|protos|deploy|examples|docs)/[\w./-]+)`", path.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_index_names_every_page() -> None:
    """A page that is not listed is not found."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("*.md") if path.name != "README.md" and f"({path.name})" not in index] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_a_page_exist(path: Path) -> None:
    """Every `phoenix-gateway` line names a command and options that it has; every `make` line a target."""
    known = dict(commands())
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in shell_lines(path):
        words = shlex.split(line.partition("#")[0].replace("[", "").replace("]", ""))
        if words[:1] == ["make"]:
            assert [word for word in words[1:] if "=" not in word and word not in targets] == [], line
        elif words[:1] == ["phoenix-gateway"]:
            named = (one for path, one in known.items() if words[1 : 1 + len(path.split())] == path.split())
            command = get_command(app) if words[1].startswith("--") else next(named, None)
            assert command is not None, line
            options = {option for one in command.params for option in one.opts}
            assert [word for word in words if word.startswith("--") and word not in options] == [], line


def test_the_toml_example_is_a_configuration(tmp_path: Path) -> None:
    """It is read with its files in place."""
    example = toml_example("configuration.md").replace('["..."]', f'["{"ab" * 32}"]')
    assert tomllib.loads(example)["tenants"][0]["tenant_id"] == "one"
    texts = {"one/api_key": "key", "one/hmac_secret": "secret", "acme/sandbox.pem": LAUNCH_KEY, "gateway.toml": example}
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    config = loaded({**TENANT, "GATEWAY_CONFIG": str(tmp_path / "gateway.toml")})
    assert [one.keys.tenant_id for one in config.tenants] == ["acme", "one"]
    assert [one.keys.operator_code for one in config.operators] == ["acme"]


def test_the_smallest_configuration_names_settings() -> None:
    """The example of an environment holds names that exist."""
    text = next(text for text in texts(DOCS / "configuration.md", "") if text.startswith("TENANT_ID="))
    assert {line.partition("=")[0] for line in text.splitlines()} <= set(names.ENVIRONMENT_NAMES)


def test_the_policy_example_is_a_policy(tmp_path: Path) -> None:
    """It is read without a fault or doubt, and opens what the comments say."""
    path = tmp_path / "policy.toml"
    path.write_text(toml_example("policy.md"))
    names_there = {"TENANT_ID": "one", "PREDICTION_OPERATOR_CODE": "acme", "PREDICTION_ENVIRONMENT": "sandbox"}
    found = read_policy(path, names_there, env_file=NO_ENV_FILE)
    assert found.warnings == ()
    game = found.callers.by_name["game"]
    assert {"EventService/StreamEvents", "KeyService/GetPublicKey", "LeaderboardService/GetUserRank"} <= {
        method.rsplit(".", 1)[-1] for method in game.methods
    }
    assert game.operators == frozenset({("acme", Environment.SANDBOX)})


def test_the_policy_of_the_console_opens_every_page(tmp_path: Path) -> None:
    """It allows each method that a page calls."""
    path = tmp_path / "policy.toml"
    path.write_text(toml_example("console.md"))
    found = read_policy(path, {"TENANT_ID": "one"}, env_file=NO_ENV_FILE)
    assert found.warnings == ()
    pages = (DOCS.parent / "gateway" / "console" / "pages").glob("*.py")
    called = {name for page in pages for name in re.findall(r'"(\w+Service/\w+)"', page.read_text(encoding="utf-8"))}
    assert len(called) > 5
    assert called <= {method.rsplit(".", 1)[-1] for method in found.callers.by_name["operations"].methods}


@pytest.mark.parametrize("line", [one for one in shell_lines(DOCS / "policy.md") if one], ids=lambda line: line[16:28])
def test_a_policy_command_runs(line: str) -> None:
    """As it is printed, in the repository's root."""
    environ = {"TENANT_ID": "one", "PREDICTION_OPERATOR_CODE": "acme", "PREDICTION_ENVIRONMENT": "sandbox"}
    command = [sys.executable, "-m", "gateway", *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its path, such as `events send`."""

    def below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield path, command
            return
        for name, one in command.commands.items():
            yield from below(one, f"{path} {name}".strip())

    return below(get_command(app), "")


def headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            text = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(text.replace(" ", "-"))
    return found
