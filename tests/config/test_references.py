"""Secrets that are references: which settings take them, and what stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import names
from gateway.config.model import Config
from gateway.keys.own.secret_files import read_source
from tests.config.valid_settings import WHOLE, loaded, refused

KEY = "ADMIN_API_KEY"
REST = {name: text for name, text in WHOLE.items() if name != KEY}


def api_key(config: Config) -> str:
    source = config.tenants[0].keys.api_key
    assert source is not None
    return read_source(source).reveal_text()


def script(folder: Path, text: str) -> Path:
    path = folder / "print-secret"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def test_every_secret_takes_a_reference_but_those_that_log_in() -> None:
    """A store cannot be asked for what opens it."""
    with_reference = {name.removesuffix("_REF") for name in names.ENVIRONMENT_NAMES if name.endswith("_REF")}
    assert names.SECRETS - with_reference == {"VAULT_TOKEN", "VAULT_SECRET_ID"}


def test_a_file_reference_is_the_file(tmp_path: Path) -> None:
    """With the same checks, and followed in the same way."""
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    file.chmod(0o600)
    assert api_key(loaded({**REST, "ADMIN_API_KEY_REF": f"file:{file}"})) == "from-a-file"
    file.chmod(0o644)
    assert [fault.setting for fault in refused({**REST, "ADMIN_API_KEY_REF": f"file:{file}"}).faults] == [f"{KEY}_REF"]


def test_a_command_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    """And is not run before."""
    path = script(tmp_path, f"touch {tmp_path}/ran; echo from-a-command")
    wanted = {**REST, "ADMIN_API_KEY_REF": f"exec:{path}"}
    (fault,) = refused(wanted).faults
    assert "GATEWAY_ALLOW_EXEC" in fault.remedy
    assert not (tmp_path / "ran").exists()
    assert api_key(loaded({**wanted, "GATEWAY_ALLOW_EXEC": "true"})) == "from-a-command"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("exit 3", "code 3"), ("true", "empty"), ("head -c 70000 /dev/zero", "prints more"), ("printf 'a\\0b'", "NUL")],
)
def test_a_command_that_gives_no_secret_stops_the_start(tmp_path: Path, text: str, problem: str) -> None:
    """The fault names the setting, the reference and the cause."""
    path = script(tmp_path, text)
    (fault,) = refused({**REST, "ADMIN_API_KEY_REF": f"exec:{path}", "GATEWAY_ALLOW_EXEC": "true"}).faults
    assert fault.setting == "ADMIN_API_KEY_REF"
    assert str(path) in fault.problem
    assert problem in fault.problem


def test_only_one_form_may_be_given(tmp_path: Path) -> None:
    """As with a value and a file."""
    error = refused({**WHOLE, "ADMIN_API_KEY_REF": "exec:/bin/true"})
    assert "is set, and so is ADMIN_API_KEY_REF" in str(error)


def test_a_text_that_is_no_reference_is_not_repeated() -> None:
    """It may be the secret itself."""
    error = refused({**REST, "ADMIN_API_KEY_REF": "the-secret-itself-by-mistake"})
    assert "the-secret-itself" not in str(error)
    assert "vault:secret/phoenix#admin_api_key" in str(error)


def test_a_table_of_the_file_may_have_references(tmp_path: Path) -> None:
    """In lower case, as its other settings; a reference hides the shared value."""
    file = tmp_path / "key"
    file.write_text("of-the-table")
    file.chmod(0o600)
    (tmp_path / "gateway.toml").write_text(
        f'[[tenants]]\ntenant_id = "acme"\nadmin_api_key_ref = "file:{file}"\ningestion_hmac_secret = "x"\n'
        'ingestion_base_url = "https://i.example"\nadmin_base_url = "https://a.example"\n'
        'query_base_url = "https://q.example"\nwebsocket_url = "wss://q.example/ws"\n'
    )
    (tmp_path / "gateway.toml").chmod(0o600)
    assert api_key(loaded({"GATEWAY_CONFIG": str(tmp_path / "gateway.toml")})) == "of-the-table"


def test_a_database_login_is_for_the_database_only() -> None:
    """A user and a password in a URL are no API key."""
    reference = "vault-db:database/creds/x#postgresql://db/x"
    (fault,) = refused({**REST, "ADMIN_API_KEY_REF": reference}).faults
    assert "no reference that this setting takes" in fault.problem
