"""The README names every setting and command, and its example does what it says."""

import re
import tomllib
from pathlib import Path

from typer.main import get_command

from gateway.cli.main import app
from gateway.config import names
from gateway.config.policy_file import read_policy
from gateway.core.types import Environment
from tests.config.given_settings import LAUNCH_KEY, NO_ENV_FILE, TENANT, loaded

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SETTINGS = README.split("## Settings")[1].split("\n## ")[0]


def test_every_setting_is_in_the_table() -> None:
    """And nothing is in the table that is no setting."""
    rows = [line.split("|")[1] for line in SETTINGS.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    assert named == set(names.PROCESS + names.TENANT_OWN + names.TENANT_SHARED) | set(
        names.OPERATOR_OWN + names.OPERATOR_SHARED
    ) | {names.CONFIG_FILE}


def test_every_command_is_in_the_table() -> None:
    """A command that nobody reads of is not there."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in commands if f"`{name}" not in README.split("## Commands")[1].split("\n## ")[0]] == []


def test_the_toml_example_is_a_configuration(tmp_path: Path) -> None:
    """It is read with its files in place."""
    example = SETTINGS.split("```toml\n")[1].split("```")[0].replace('["..."]', f'["{"ab" * 32}"]')
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


def test_the_policy_example_is_a_policy(tmp_path: Path) -> None:
    """It is read without a fault or doubt, and opens what the comments say."""
    example = README.split("## Who may do what")[1].split("```toml\n")[1].split("```")[0]
    path = tmp_path / "policy.toml"
    path.write_text(example)
    names_there = {"TENANT_ID": "one", "PREDICTION_OPERATOR_CODE": "acme", "PREDICTION_ENVIRONMENT": "sandbox"}
    found = read_policy(path, names_there, env_file=NO_ENV_FILE)
    assert found.warnings == ()
    game = found.callers.by_name["game"]
    assert {"EventService/StreamEvents", "KeyService/GetPublicKey", "LeaderboardService/GetUserRank"} <= {
        method.rsplit(".", 1)[-1] for method in game.methods
    }
    assert game.operators == frozenset({("acme", Environment.SANDBOX)})
