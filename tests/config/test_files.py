"""Values from files: NAME_FILE, `.env`, the TOML file, TLS."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.core.types import Environment
from tests.certificates import Authority
from tests.config.valid_settings import (
    LAUNCH_KEY,
    TENANT,
    WHOLE,
    ed25519_pem,
    faulty,
    loaded,
    platform_pem,
    refused,
    rsa_pem,
)


def private_file(path: Path, text: str, mode: int = 0o600) -> str:
    """Write a file that only its owner reads; returns its path."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def without(settings: dict[str, str], *names: str) -> dict[str, str]:
    """The settings but for these."""
    return {name: value for name, value in settings.items() if name not in names}


@pytest.mark.parametrize("name", ["ADMIN_API_KEY", "INGESTION_HMAC_SECRET", "PREDICTION_LAUNCH_KEY"])
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    """NAME_FILE takes the place of NAME, with the line end that editors add."""
    path = private_file(tmp_path / "secret", WHOLE[name] + "\n")
    config = loaded({**without(WHOLE, name), f"{name}_FILE": path})
    sources = [config.tenants[0].keys.hmac, config.tenants[0].keys.api_key, config.operators[0].keys.signing_key]
    assert [source.path for source in sources if source is not None and source.path is not None] == [Path(path)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
@pytest.mark.parametrize("name", ["ADMIN_API_KEY", "INGESTION_HMAC_SECRET", "PREDICTION_LAUNCH_KEY"])
def test_a_secret_file_that_others_can_read_is_refused(name: str, mode: int, tmp_path: Path) -> None:
    """The fault names the setting and the fix."""
    path = private_file(tmp_path / "secret", WHOLE[name], mode)
    error = refused({**without(WHOLE, name), f"{name}_FILE": path})
    assert [fault.setting for fault in error.faults] == [f"{name}_FILE"]
    assert "chmod 600" in str(error)


def test_a_value_and_a_file_together_are_refused(tmp_path: Path) -> None:
    """It is not clear which one is meant."""
    path = private_file(tmp_path / "secret", "x")
    assert faulty({**WHOLE, "ADMIN_API_KEY_FILE": path}) == ["ADMIN_API_KEY"]


def test_a_missing_secret_file_is_refused(tmp_path: Path) -> None:
    """It is named by the variable that points there."""
    path = str(tmp_path / "absent")
    assert faulty({**without(WHOLE, "ADMIN_API_KEY"), "ADMIN_API_KEY_FILE": path}) == ["ADMIN_API_KEY_FILE"]


def test_an_rsa_key_is_refused_where_ed25519_belongs() -> None:
    """A launch token signed with it would be refused by Phoenix, one by one."""
    error = refused({**WHOLE, "PREDICTION_LAUNCH_KEY": rsa_pem()})
    assert [fault.setting for fault in error.faults] == ["PREDICTION_LAUNCH_KEY"]
    assert "Ed25519" in str(error)


def test_a_public_key_file_needs_no_secrecy(tmp_path: Path) -> None:
    """The platform key is public; its file may be read by all."""
    path = private_file(tmp_path / "platform.pem", platform_pem(), 0o644)
    assert loaded({**WHOLE, "PREDICTION_PLATFORM_KEY_FILE": path}).operators[0].static_platform_key is not None


def test_the_env_file_is_read_below_the_environment(tmp_path: Path) -> None:
    """`.env` fills in what the environment leaves open, a PEM over several lines included."""
    env_file = tmp_path / ".env"
    lines = [f'{name}="{value}"' for name, value in WHOLE.items() if name != "TENANT_ID"]
    private_file(env_file, "\n".join(["# secrets", "export GATEWAY_WORKERS=3", "TENANT_ID=other", *lines]))
    config = load({"TENANT_ID": "acme"}, env_file=env_file)
    assert (config.tenants[0].keys.tenant_id, config.workers, config.warnings) == ("acme", 3, ())


def test_a_broken_line_of_the_env_file_is_reported_with_its_number(tmp_path: Path) -> None:
    """A line that is left out in silence would be found much later."""
    env_file = tmp_path / ".env"
    private_file(env_file, "A=1\nno value here = 'x\n")
    error = refused(WHOLE, env_file=env_file)
    assert [fault.setting for fault in error.faults] == [".env, line 2"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_an_env_file_with_secrets_that_others_read_is_refused(mode: int, tmp_path: Path) -> None:
    """It is a secret file, as any other; one without secrets may be read by all."""
    env_file = tmp_path / ".env"
    private_file(env_file, "ADMIN_API_KEY=text\n", mode)
    (fault,) = refused(without(WHOLE, "ADMIN_API_KEY"), env_file=env_file).faults
    assert fault.setting == ".env"
    assert "chmod 600" in str(fault)
    private_file(env_file, "GATEWAY_WORKERS=2\n", mode)
    assert load(WHOLE, env_file=env_file).workers == 2


def toml_file(path: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    """The variable that names a TOML file with this text."""
    return {"GATEWAY_CONFIG": private_file(path / "gateway.toml", text, mode)}


HOSTS = """
ingestion_base_url = "https://ingestion.example"
admin_base_url = "https://admin.example"
query_base_url = "https://query.example"
websocket_url = "wss://query.example/ws"
"""
TWO_OF_EACH = f"""
{HOSTS}
gateway_workers = 2
phoenix_deduplicates_events = true
prediction_key_cooldown = 1.5
[[tenants]]
tenant_id = "one"
admin_api_key = "key-one"
ingestion_hmac_secret = "secret-one"
[[tenants]]
tenant_id = "two"
admin_api_key = "key-two"
ingestion_hmac_secret_file = "two.secret"
query_base_url = "https://query-two.example"
query_auth = "bearer"
[[operators]]
operator_code = "acme"
environment = "sandbox"
launch_key_file = "acme.pem"
[[operators]]
operator_code = "acme"
environment = "prod"
launch_key_file = "acme.pem"
base_url = "https://prediction-prod.example"
key_cooldown = 5
platform_key_sha256 = ["{"ab" * 32}", "{"CD" * 32}"]
"""


def test_the_toml_file_holds_several_tenants_and_operators(tmp_path: Path) -> None:
    """Its tables share the process's settings and override them. Paths are relative to its folder."""
    private_file(tmp_path / "two.secret", "secret-two")
    private_file(tmp_path / "acme.pem", ed25519_pem())
    config = loaded(toml_file(tmp_path, TWO_OF_EACH))
    assert [one.keys.tenant_id for one in config.tenants] == ["one", "two"]
    assert [one.query_base_url for one in config.tenants] == ["https://query.example", "https://query-two.example"]
    assert [one.query_auth.value for one in config.tenants] == ["api_key", "bearer"]
    assert [one.events.deduplicates for one in config.tenants] == [True, True]
    assert [one.keys.environment for one in config.operators] == [Environment.SANDBOX, Environment.PROD]
    assert [one.platform_keys.cooldown_s for one in config.operators] == [1.5, 5.0]
    assert config.operators[1].platform_keys.pins == {"ab" * 32, "cd" * 32}
    assert config.workers == 2


def test_the_environments_tenant_is_added_to_those_of_the_toml_file(tmp_path: Path) -> None:
    """The variables make one more tenant."""
    text = '[[tenants]]\ntenant_id = "two"\nadmin_api_key = "k"\ningestion_hmac_secret = "s"\n'
    config = loaded({**TENANT, **toml_file(tmp_path, text)})
    assert [one.keys.tenant_id for one in config.tenants] == ["acme", "two"]


def test_the_environment_goes_before_the_toml_file(tmp_path: Path) -> None:
    """In either form: NAME of the environment replaces NAME_FILE of the file."""
    text = 'admin_api_key_file = "absent"\ngateway_workers = 7\n'
    config = loaded({**WHOLE, "GATEWAY_WORKERS": "3", **toml_file(tmp_path, text)})
    assert config.workers == 3


@pytest.mark.parametrize(
    ("text", "setting", "remedy"),
    [
        ("gateway_listn = 'x'", "gateway_listn", "did you mean gateway_listen?"),
        ("[[tenants]]\ntenantid = 'x'", "tenants[0].tenantid", "did you mean tenant_id?"),
        ("[[operators]]\nlaunchkey = 'x'", "operators[0].launchkey", "did you mean launch_key?"),
        ("[[operators]]\ntenant_id = 'x'", "operators[0].tenant_id", "remove it, or see docs/configuration.md"),
    ],
)
def test_an_unknown_key_of_the_toml_file_is_refused(text: str, setting: str, remedy: str, tmp_path: Path) -> None:
    """A misspelled setting is reported with the closest name."""
    faults = refused({**WHOLE, **toml_file(tmp_path, text)}).faults
    assert (setting, remedy) in [(fault.setting, fault.remedy) for fault in faults]


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("tenants = 3", "tenants"),
        ("operators = ['x']", "operators"),
        ("gateway_workers = {a = 1}", "gateway_workers"),
        ("gateway_listen = 1979-05-27", "gateway_listen"),
        ("gateway_listen = 'x' y", "GATEWAY_CONFIG"),
        ("[[tenants]]\ntenant_id = ''", "tenants[0].tenant_id"),
        ("[[operators]]\nenvironment = 'production'", "operators[0].environment"),
        (f"x = {'[' * 5000}{']' * 5000}", "GATEWAY_CONFIG"),  # the parser gives up with an error of its own
    ],
    ids=["tenants", "operators", "a table", "a date", "syntax", "no id", "environment", "depth"],
)
def test_a_wrong_form_in_the_toml_file_is_reported_with_its_position(text: str, setting: str, tmp_path: Path) -> None:
    """The fault names the table and the key."""
    assert setting in faulty({**WHOLE, **toml_file(tmp_path, text)})


def test_a_toml_file_with_secrets_that_others_read_is_refused(tmp_path: Path) -> None:
    """It is a secret file; one that only names files may be read by all."""
    text = '[[tenants]]\ntenant_id = "two"\nadmin_api_key = "k"\ningestion_hmac_secret = "s"\n'
    assert faulty({**TENANT, **toml_file(tmp_path, text, 0o644)}) == ["GATEWAY_CONFIG"]
    assert loaded({**TENANT, **toml_file(tmp_path, "gateway_workers = 2\n", 0o644)}).workers == 2


@pytest.mark.parametrize("same", ["acme", "other"])
def test_a_tenant_is_configured_once(same: str, tmp_path: Path) -> None:
    """Two tenants of one id would hide one another."""
    table = '[[tenants]]\ntenant_id = "%s"\nadmin_api_key = "k"\ningestion_hmac_secret = "s"\n'
    settings = {**TENANT, **toml_file(tmp_path, table % "other" + table % same)}
    assert faulty(settings) == ["tenants[1].tenant_id"]


def test_an_operator_may_have_both_environments_but_each_once(tmp_path: Path) -> None:
    """Code and environment together are the operator's name."""
    private_file(tmp_path / "acme.pem", LAUNCH_KEY)
    table = '[[operators]]\noperator_code = "acme"\nenvironment = "%s"\nlaunch_key_file = "acme.pem"\n'
    assert len(loaded({**WHOLE, **toml_file(tmp_path, table % "prod")}).operators) == 2
    assert faulty({**WHOLE, **toml_file(tmp_path, table % "sandbox")}) == ["operators[0].operator_code"]


def test_tls_opens_public_addresses_to_callers_with_certificates(tmp_path: Path) -> None:
    """With TLS only, anyone on the network could mint tokens."""
    authority = Authority()
    certificate, key = authority.issue("localhost").write(tmp_path, "server")
    tls = {"GATEWAY_TLS_CERT_FILE": str(certificate), "GATEWAY_TLS_KEY_FILE": str(key)}
    ca = {"GATEWAY_TLS_CLIENT_CA_FILE": private_file(tmp_path / "ca", authority.certificate.decode(), 0o644)}
    public = {**WHOLE, "GATEWAY_LISTEN": "0.0.0.0:50051", "GATEWAY_ADMIN_LISTEN": "0.0.0.0:9464"}
    policy = toml_file(tmp_path, '[[callers]]\nname = "game"\nids = ["game.example"]\n')
    assert loaded({**public, **tls, **ca, **policy}).listen.target == "0.0.0.0:50051"
    assert faulty({**public, **tls, **ca}) == ["callers"]
    proxy = {"GATEWAY_TRUSTED_PROXIES": "game.example"}
    assert faulty({**public, **tls, **ca, **policy, **proxy}) == ["GATEWAY_TRUSTED_PROXIES"]
    assert faulty({**public, **tls, **ca, **policy, "GATEWAY_DEV_TOKEN": "sixteen-bytes---"}) == ["GATEWAY_DEV_TOKEN"]
    assert faulty({**public, **tls}) == ["GATEWAY_LISTEN"]
    assert faulty(public) == ["GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"]


def test_a_policy_needs_a_way_in(tmp_path: Path) -> None:
    """Callers that are named only by certificates need mutual TLS. A socket or the name `local` works without it."""
    table = '[[callers]]\nname = "%s"\nids = ["game.example"]\n'
    assert faulty({**WHOLE, **toml_file(tmp_path, table % "game")}) == ["callers"]
    assert not loaded({**WHOLE, **toml_file(tmp_path, table % "local")}).warnings
    sockets = {"GATEWAY_SOCKETS": f"game={tmp_path}/game.sock"}
    settings = {**WHOLE, **toml_file(tmp_path, table % "game"), **sockets}
    assert ["game"] == [one.caller for one in loaded(settings).sockets]
    assert faulty({**settings, "GATEWAY_WORKERS": "2"}) == ["GATEWAY_SOCKETS"]
    unused = loaded({**settings, "PHOENIX_PATHS": "GET /v1/a"})
    assert [("PHOENIX_PATHS", "is not used while there is a policy")] == [
        (one.setting, one.problem) for one in unused.warnings
    ]


def test_a_policy_that_everybody_may_change_is_none(tmp_path: Path) -> None:
    """Anyone who can write it can take any right."""
    table = '[[callers]]\nname = "local"\n'
    assert faulty({**WHOLE, **toml_file(tmp_path, table, 0o646)}) == ["GATEWAY_CONFIG"]


def test_tls_files_come_together(tmp_path: Path) -> None:
    """A certificate without its key is a fault, and so is the other way about."""
    one = private_file(tmp_path / "one", "pem")
    assert faulty({**WHOLE, "GATEWAY_TLS_CERT_FILE": one}) == ["GATEWAY_TLS_KEY_FILE"]
    assert faulty({**WHOLE, "GATEWAY_TLS_KEY_FILE": one}) == ["GATEWAY_TLS_CERT_FILE"]


def test_a_tls_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It is a key file as any other."""
    cert, key = (private_file(tmp_path / name, "pem", 0o644) for name in ("cert", "key"))
    assert faulty({**WHOLE, "GATEWAY_TLS_CERT_FILE": cert, "GATEWAY_TLS_KEY_FILE": key}) == ["GATEWAY_TLS_KEY_FILE"]
