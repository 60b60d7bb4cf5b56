"""The room contracts in pyproject.toml name every room that exists."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ROOMS = {
    f"gateway.{path.stem if path.is_file() else path.name}"
    for path in (ROOT / "gateway").iterdir()
    if (path.is_dir() and (path / "__init__.py").exists()) or (path.suffix == ".py" and not path.stem.startswith("__"))
} - {"gateway.v1"}
MAY = {
    "core and errors are pure: no I/O, clock, environment or logging": ROOMS - {"gateway.core", "gateway.errors"},
    "Only front, server and cli know grpc": {"gateway.front", "gateway.server", "gateway.cli"},
    "Protobuf messages stop at services, interceptors and front": {
        "gateway.services",
        "gateway.interceptors",
        "gateway.front",
        "gateway.console",
        "gateway.server",
        "gateway.cli",
    },
    "Only core and keys do cryptography": {
        "gateway.core",
        "gateway.keys",
        "gateway.sandbox",
        "gateway.evidence_verify",
    },
    "Only cache names the Redis client": {"gateway.cache"},
    "Only telemetry names OpenTelemetry": {"gateway.telemetry"},
    "Only store and the doctor name a database driver": {"gateway.store", "gateway.doctor"},
    "Only rooms that keep something write SQL": {
        "gateway.store",
        "gateway.evidence",
        "gateway.outbox",
        "gateway.controls",
    },
    "Only phoenix names the HTTP client (aiohttp); front, console and sandbox serve with its server": {
        "gateway.phoenix",
        "gateway.front",
        "gateway.console",
        "gateway.sandbox",
    },
    "httpx makes one-off calls, never a call that the gateway serves": {
        "gateway.cli",
        "gateway.doctor",
        "gateway.sandbox",
    },
    "Only front names an HTTP/2 engine": {"gateway.front"},
    "Streams are given their connections": ROOMS - {"gateway.streams"},
    "The sandbox shares nothing with what it checks": ROOMS - {"gateway.sandbox"},
    "The proof of evidence shares nothing with what it proves": ROOMS - {"gateway.evidence_verify"},
}


@pytest.mark.parametrize(
    "contract", [one for one in CONTRACTS if one["type"] == "forbidden"], ids=lambda one: one["name"]
)
def test_a_contract_binds_every_room_that_is_not_free_of_it(contract: dict[str, object]) -> None:
    """A new room is entered in each list, or its freedom is written down here."""
    sources = contract["source_modules"]
    assert isinstance(sources, list)
    assert set(sources) == ROOMS - MAY[str(contract["name"])]


def test_the_sandbox_may_import_no_room() -> None:
    """A new room is forbidden to the sandbox too."""
    contract = next(one for one in CONTRACTS if one["name"] == "The sandbox shares nothing with what it checks")
    assert set(contract["forbidden_modules"]) == ROOMS - {"gateway.sandbox"}


def test_the_proof_of_evidence_may_import_no_room() -> None:
    """Nor generated code: what it proves was written by all of that."""
    contract = next(one for one in CONTRACTS if one["name"].startswith("The proof of evidence"))
    assert set(contract["forbidden_modules"]) == ROOMS - {"gateway.evidence_verify"} | {"gateway.v1"}


def test_contributing_draws_the_layers_as_they_are() -> None:
    """The diagram for newcomers and the contract name the same rooms in the same order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = " ".join(text.split("```text\ncli >")[1].split("```")[0].split())
    layers = next(one for one in CONTRACTS if one["type"] == "layers")["layers"]
    assert f"cli > {drawn}" == " > ".join(layers).replace("(", "").replace(")", "")
