"""Secrets that are references: which settings take them, and what stops the start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.config import names
from gateway.config.model import Config
from gateway.keys.sources.secret_files import read_source
from tests.config.valid_settings import WHOLE, loaded, refused

KEY = "ADMIN_API_KEY"
EXTENDED = {
    **WHOLE,
    "REDIS_URL": "redis://127.0.0.1:1",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
}
"""Without Redis its keys are not read, and without a collector no headers for it."""
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


@pytest.mark.parametrize("name", sorted(names.WITH_REFERENCE))
@pytest.mark.parametrize("other", ["", "_FILE"])
def test_no_secret_is_given_twice(name: str, other: str, tmp_path: Path) -> None:
    """A reference beside a value or a file is a fault that names both settings."""
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef" * 4)
    file.chmod(0o600)
    rest = {one: text for one, text in EXTENDED.items() if names.plain_name(one) != name}
    text = str(file) if other else "0123456789abcdef" * 4
    error = refused({**rest, f"{name}_REF": f"file:{file}", name + other: text})
    assert f"{name}{other}: is set, and so is {name}_REF; set one of the two" in str(error)


@pytest.mark.parametrize("name", sorted(names.WITH_REFERENCE))
@pytest.mark.parametrize(
    "text", ["azure-kv:the-vault/the-secret", "vault", "VAULT:secret/x#y", ":", "https://the-vault/x"]
)
def test_an_unknown_scheme_is_refused_for_every_secret(name: str, text: str) -> None:
    """The fault names the setting and what it may begin with, and repeats nothing of the text."""
    rest = {one: value for one, value in EXTENDED.items() if names.plain_name(one) != name}
    faults = [one for one in refused({**rest, f"{name}_REF": text}).faults if one.setting == f"{name}_REF"]
    assert ["is no reference that this setting takes"] == [one.problem for one in faults]
    assert all(f"{scheme.value}:" in faults[0].remedy for scheme in names.schemes_of(name))
    assert "the-vault" not in str(faults[0])


@pytest.mark.parametrize(
    ("reference", "remedy"),
    [
        ("vault:secret/phoenix", "vault:secret/phoenix#admin_api_key"),
        ("vault:secret/phoenix#", "vault:secret/phoenix#admin_api_key"),
        ("vault:#key", "vault:secret/phoenix#admin_api_key"),
        ("aws-sm:phoenix/admin#", "aws-sm:phoenix/admin#api_key"),
        ("aws-sm:#key", "aws-sm:phoenix/admin#api_key"),
        ("gcp-sm:projects/x/secrets/y#", "gcp-sm:projects/PROJECT/secrets/NAME"),
        ("gcp-sm:y#key", "gcp-sm:projects/PROJECT/secrets/NAME"),
        ("file:", "file:/run/secrets/admin_api_key"),
        ("exec:", "exec:/usr/local/bin/print-secret"),
    ],
)
def test_an_incomplete_reference_is_refused_with_an_example(reference: str, remedy: str) -> None:
    """Before any store is asked."""
    (fault,) = refused({**REST, "ADMIN_API_KEY_REF": reference, "GATEWAY_ALLOW_EXEC": "true"}).faults
    assert (fault.setting, remedy in fault.remedy) == ("ADMIN_API_KEY_REF", True)


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("echo planted-secret", 0o600, "cannot be run (Permission denied)"),
        ("echo planted-secret; echo planted-secret", 0o700, "line"),
        ("echo planted-secret >&2; echo planted-secret; exit 7", 0o700, "ends with code 7"),
        ("echo planted-secret >&2", 0o700, "empty"),
    ],
)
def test_a_command_that_fails_shows_nothing_of_its_output(tmp_path: Path, text: str, mode: int, problem: str) -> None:
    """Neither of its output nor of its errors; the fault names setting, reference, cause."""
    path = script(tmp_path, text)
    path.chmod(mode)
    error = refused({**REST, "ADMIN_API_KEY_REF": f"exec:{path}", "GATEWAY_ALLOW_EXEC": "true"})
    (fault,) = error.faults
    assert fault.setting == "ADMIN_API_KEY_REF"
    assert f"exec:{path}: " in fault.problem
    assert problem in fault.problem
    assert "planted-secret" not in str(error)


def test_a_command_that_cannot_be_split_or_found_says_so() -> None:
    """With the fix."""
    for text, remedy in (
        ("exec:/bin/echo 'x", "correct the command"),
        ("exec:/nonexistent x", "check the program's path"),
    ):
        (fault,) = refused({**REST, "ADMIN_API_KEY_REF": text, "GATEWAY_ALLOW_EXEC": "true"}).faults
        assert (text in fault.problem, remedy in fault.remedy) == (True, True)


@pytest.mark.parametrize(
    ("setting", "reference", "module", "extra"),
    [
        ("ADMIN_API_KEY_REF", "vault:secret/phoenix#key", "hvac", "vault"),
        ("ADMIN_API_KEY_REF", "aws-sm:phoenix", "botocore", "aws"),
        ("ADMIN_API_KEY_REF", "gcp-sm:projects/x/secrets/y", "google.auth", "gcp"),
        ("PREDICTION_LAUNCH_KEY_REF", "vault-transit:transit/launch", "hvac", "vault"),
        ("PREDICTION_LAUNCH_KEY_REF", "aws-kms:alias/launch", "botocore", "aws"),
        ("PREDICTION_LAUNCH_KEY_REF", "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k", "google.auth", "gcp"),
        ("PREDICTION_LAUNCH_KEY_REF", "pkcs11:token=t;object=k?module-path=/m.so&pin-source=/pin", "pkcs11", "pkcs11"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    setting: str, reference: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    rest = {one: text for one, text in WHOLE.items() if one != setting.removesuffix("_REF")}
    vault = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"} if extra == "vault" else {}
    (fault,) = refused({**rest, **vault, setting: reference}).faults
    assert (fault.setting, reference in fault.problem) == (setting, True)
    assert fault.remedy == f"install it with: pip install 'phoenix-gateway[{extra}]'"
