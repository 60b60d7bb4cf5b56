"""docker-compose.yml, Dockerfile and .dockerignore follow the schema, the settings and the hardening rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.config import load, names
from gateway.config.process import DEFAULT_ADMIN_LISTEN
from tests.deploy import compose_file, image_steps
from tests.deploy.compose_processes import PORTS, Stack
from tools import dev_ca, dev_secrets

ROOT = compose_file.ROOT
SERVICES = ("gateway-1", "gateway-2", "redis", "postgres", "sandbox")
GATEWAYS = ("gateway-1", "gateway-2")
DRAIN_S = 10
"""The documented time in which a gateway finishes its calls."""


@pytest.fixture(scope="module")
def raw() -> dict[str, Any]:
    return compose_file.read_raw()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make dev-ca` makes, in folders of the test, as the variables that name them."""
    ca, secrets = tmp_path_factory.mktemp("ca"), tmp_path_factory.mktemp("secrets")
    dev_ca.make(ca, datetime.now(UTC))
    dev_secrets.make(secrets)
    return {"DEV_CA_DIR": str(ca), "SECRETS_DIR": str(secrets)}


@pytest.fixture(scope="module")
def compose(made: dict[str, str]) -> dict[str, Any]:
    return compose_file.read(made)


def test_the_file_fits_the_compose_specification(raw: dict[str, Any], compose: dict[str, Any]) -> None:
    """Before and after interpolation, by the specification's own schema."""
    schema = compose_file.schema()
    validator = jsonschema.validators.validator_for(schema)(schema)
    found = [f"{error.json_path}: {error.message}" for one in (raw, compose) for error in validator.iter_errors(one)]
    assert found == []


def test_the_schema_refuses_an_unknown_member(raw: dict[str, Any]) -> None:
    """The schema is not one that takes everything."""
    schema = compose_file.schema()
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert not validator.is_valid({**raw, "services": {"redis": {"image": "redis", "readonly": True}}})


def test_exactly_these_services_run(compose: dict[str, Any]) -> None:
    """Two gateways, Redis, PostgreSQL; the sandbox only by its profile."""
    assert set(compose["services"]) == set(SERVICES) == set(PORTS)
    assert {name: one["profiles"] for name, one in compose["services"].items() if "profiles" in one} == {
        "sandbox": ["sandbox"]
    }


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_hardened(compose: dict[str, Any], service: str) -> None:
    """Read-only root, not the root user, no new privileges, no capability; writable folders only in memory."""
    one = compose["services"][service]
    assert one["read_only"] is True
    assert one["user"] == "1000:1000"
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(one)
    assert all("size=" in each for each in one["tmpfs"])
    assert all(each.split(":")[0] in compose["volumes"] for each in one.get("volumes", []))


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_limits_and_a_health_check(compose: dict[str, Any], service: str) -> None:
    """Processor, memory and processes are bounded; health is asked, with an end to each asking."""
    one = compose["services"][service]
    assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(one["healthcheck"])


@pytest.mark.parametrize("service", SERVICES)
def test_each_image_is_pinned(compose: dict[str, Any], service: str) -> None:
    """A tag with three numbers, or two where the project counts so."""
    assert re.fullmatch(r"[a-z-]+:[0-9]+\.[0-9]+(\.[0-9]+)?(-bookworm)?", compose["services"][service]["image"])


def test_ports_are_published_on_loopback_only_and_once(compose: dict[str, Any]) -> None:
    """Only the gateways are published, each on its own port."""
    published = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}
    assert published == {"gateway-1": ["127.0.0.1:50051:50051"], "gateway-2": ["127.0.0.1:50052:50051"]}


def test_stores_and_sandbox_stand_in_a_network_without_a_way_out(compose: dict[str, Any]) -> None:
    """Only the gateways reach both sides."""
    assert compose["networks"]["inside"]["internal"] is True
    assert {name: one["networks"] for name, one in compose["services"].items() if name not in GATEWAYS} == {
        "redis": ["inside"],
        "postgres": ["inside"],
        "sandbox": ["inside"],
    }


@pytest.mark.parametrize("service", GATEWAYS)
def test_gateways_have_time_to_drain(compose: dict[str, Any], service: str) -> None:
    """The grace period is longer than the drain."""
    assert int(compose["services"][service]["stop_grace_period"].removesuffix("s")) > DRAIN_S


@pytest.mark.parametrize("service", [*GATEWAYS, "sandbox"])
def test_each_variable_is_a_setting(compose: dict[str, Any], service: str) -> None:
    """A misspelt name would be ignored in silence."""
    assert set(compose["services"][service]["environment"]) - set(names.ENVIRONMENT_NAMES) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_secrets_come_as_files_that_are_mounted(compose: dict[str, Any], service: str) -> None:
    """No secret in the environment; each file that is named is mounted, and nothing is mounted that is not named."""
    one = compose["services"][service]
    environment = one.get("environment", {})
    assert [name for name in environment if name in names.SECRETS or name == "POSTGRES_PASSWORD"] == []
    words = " ".join([*map(str, environment.values()), *one["command"], *one["healthcheck"]["test"]])
    assert set(re.findall(r"/run/secrets/([\w-]+)", words)) == set(one.get("secrets", []))
    assert set(re.findall(r"/run/configs/[\w.-]+", words)) == {each["target"] for each in one.get("configs", [])}


def test_every_mounted_file_is_there_after_make_dev_ca(compose: dict[str, Any]) -> None:
    """Secrets have mode 0600, as the gateway demands. Every declared secret is mounted."""
    modes = {name: Path(each["file"]).stat().st_mode & 0o777 for name, each in compose["secrets"].items()}
    assert modes == dict.fromkeys(compose["secrets"], 0o600)
    assert all(Path(each["file"]).is_file() for each in compose["configs"].values())
    services = compose["services"].values()
    assert {name for one in services for name in one.get("secrets", [])} == set(compose["secrets"])
    assert {each["source"] for one in services for each in one.get("configs", [])} == set(compose["configs"])


def test_mounted_files_are_created_by_make_and_ignored_by_git() -> None:
    """Without variables, files come from var/, which is ignored; but for the policy, which holds no secret."""
    plain = compose_file.read({})
    files = [each["file"] for kind in ("secrets", "configs") for each in plain[kind].values()]
    assert {str(Path(file).parent) for file in files} == {"var/dev-ca", "var/dev-secrets", "deploy"}
    assert "var/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("service", GATEWAYS)
def test_the_gateway_itself_takes_its_settings(
    compose: dict[str, Any], service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's config reader finds no fault and no warning, and reads mutual TLS, Redis and PostgreSQL."""
    monkeypatch.chdir(tmp_path)  # no .env of the developer's
    config = load(Stack(compose, tmp_path).environment(service))
    assert config.warnings == ()
    assert config.tls is not None
    assert config.tls.client_ca_file is not None
    assert config.redis is not None
    assert config.database_url is not None
    assert config.upstream_ca_file is not None


@pytest.mark.parametrize("service", GATEWAYS)
def test_listeners_off_loopback_have_mutual_tls_and_the_admin_port_stays_inside(
    compose: dict[str, Any], service: str
) -> None:
    """On loopback the config reader accepts plaintext, so this test checks it separately."""
    environment = compose["services"][service]["environment"]
    assert environment["GATEWAY_LISTEN"] == "0.0.0.0:50051"
    assert {"GATEWAY_TLS_CERT_FILE", "GATEWAY_TLS_KEY_FILE", "GATEWAY_TLS_CLIENT_CA_FILE"} <= set(environment)
    assert environment["GATEWAY_ADMIN_LISTEN"] == DEFAULT_ADMIN_LISTEN.target


def test_the_sandbox_off_loopback_has_tls(compose: dict[str, Any]) -> None:
    """It refuses to start otherwise, and the gateways would not talk to it."""
    command = compose["services"]["sandbox"]["command"]
    assert {"--tls-cert", "--tls-key"} <= set(command)
    urls = [value for name, value in compose["services"]["gateway-1"]["environment"].items() if name.endswith("_URL")]
    assert {url.split("://")[0] for url in urls} == {"https", "wss"}


def test_an_emptied_upstream_ca_is_no_ca() -> None:
    """For the real Phoenix, `GATEWAY_UPSTREAM_CA_FILE=` takes the development CA's trust away."""
    compose = compose_file.read({"GATEWAY_UPSTREAM_CA_FILE": ""})
    assert compose["services"]["gateway-1"]["environment"]["GATEWAY_UPSTREAM_CA_FILE"] == ""


def test_the_image_is_pinned_and_not_root() -> None:
    """Both stages start from one pinned image; the last user is not root."""
    lines = image_steps.steps()
    bases = {line[1] for line in lines if line[0] == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[123]\.[0-9]+-slim-bookworm", bases.pop())
    assert [line[1] for line in lines if line[0] == "USER"] == ["1000:1000"]


def test_the_image_has_the_uv_of_make_setup() -> None:
    """One version in both places."""
    found = re.search(r"^UV_VERSION=(\S+)$", (ROOT / "tools" / "setup.sh").read_text(), re.MULTILINE)
    assert found is not None
    assert f"uv=={found[1]}" in (ROOT / "Dockerfile").read_text()


def test_the_build_sees_what_it_copies_and_no_secret() -> None:
    """What is copied from the context exists and is let through; var/ and .env are not."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    copied = [
        path for line in image_steps.steps() if line[0] == "COPY" and "--from=build" not in line for path in line[1:-1]
    ]
    assert rules[0] == "*"
    assert [path for path in copied if path not in allowed or not (ROOT / path).exists()] == []
    assert [
        path
        for path in ("var", "var/dev-secrets/redis_url", ".env", ".git")
        if any(fnmatch(path, one) for one in allowed)
    ] == []
