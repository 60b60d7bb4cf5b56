"""Which pages the site has, and where they are in its navigation. The titles are the tasks of a reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.docs.decisions import records

Entry = dict[str, Any]
"""A title with a page, or with a list of further entries, as Zensical reads it."""

_CLIENTS = {"Python": "python", "Go": "go", "TypeScript": "typescript", "Java": "java"}


def navigation(root: Path) -> list[Entry]:
    """Return the site's navigation. Paths are those of the repository."""
    clients: list[Entry] = [
        {f"The {name} client": page}
        for name, folder in _CLIENTS.items()
        if (root / (page := f"clients/{folder}/README.md")).exists()
    ]
    decisions: list[Entry] = [{"All decisions": "docs/adr/README.md"}]
    decisions += [{_title(path): f"docs/adr/{path.name}"} for path in records(root / "docs" / "adr")]
    return [
        {"Home": "README.md"},
        {"Start": [{"Five minutes": "docs/start.md"}, *clients, {"All pages by task": "docs/README.md"}]},
        {"Guides": _guides()},
        {"Reference": _reference()},
        {"How it works": "docs/how-it-works.md"},
        {"Threat model": "SECURITY.md"},
        {"Decisions": decisions},
        {"Project": [{"Contributing": "CONTRIBUTING.md"}, {"Changes": "CHANGELOG.md"}, {"Speed": "docs/bench.md"}]},
    ]


def _guides() -> list[Entry]:
    return [
        {"Integrate a service": [
            {"Errors, retries, deadlines": "docs/calling.md"},
            {"Events that survive any outage": "docs/durable-events.md"},
            {"Test against a Phoenix that fails": "docs/sandbox.md"},
        ]},
        {"Be a wallet": [{"Webhooks": "docs/wallet.md"}, {"A wallet to copy": "examples/wallet/README.md"}]},
        {"Rotate a key": [
            {"Secrets and rotation": "docs/keys.md"},
            {"Secrets in a store": "docs/secret-stores.md"},
            {"Vault": "docs/secrets-vault.md"},
            {"AWS": "docs/secrets-aws.md"},
            {"Google Cloud": "docs/secrets-gcp.md"},
            {"A launch key that stays in a store": "docs/signers.md"},
            {"Vault transit": "docs/signers-transit.md"},
            {"AWS KMS": "docs/signers-aws.md"},
            {"Google Cloud KMS": "docs/signers-gcp.md"},
            {"An HSM": "docs/signers-pkcs11.md"},
        ]},
        {"Read an incident": [
            {"From an alert to its cause": "docs/incidents.md"},
            {"Each alert": "docs/alerts.md"},
            {"What works meanwhile": "docs/degraded-modes.md"},
            {"Stop something now": "docs/kill-switches.md"},
        ]},
        {"Reconcile a day": [{"A day of money and events": "docs/reconcile.md"}, {"Evidence": "docs/evidence.md"}]},
        {"From sandbox to production": [
            {"Step by step": "docs/production.md"},
            {"Who may do what": "docs/policy.md"},
            {"Limits": "docs/limits.md"},
            {"TLS": "docs/tls.md"},
            {"Start, health, stop": "docs/operating.md"},
        ]},
        {"Scale out": [
            {"Workers and replicas": "docs/scale-out.md"},
            {"Try a fleet with Compose": "docs/compose.md"},
            {"Kubernetes": "deploy/kubernetes/README.md"},
        ]},
        {"Upgrade": "docs/upgrade.md"},
    ]  # fmt: skip


def _reference() -> list[Entry]:
    return [
        {"RPCs": "docs/api.md"},
        {"Errors": "docs/errors.md"},
        {"Settings": "docs/configuration.md"},
        {"Metrics": "docs/metrics.md"},
        {"Traces": "docs/traces.md"},
        {"Log and explain": "docs/logs.md"},
        {"Console": "docs/console.md"},
        {"Commands": "docs/cli.md"},
        {"Audit log": "docs/audit.md"},
        {"Alert rules": "deploy/prometheus/README.md"},
        {"Dashboard": "deploy/grafana/README.md"},
    ]


def pages(entries: list[Entry]) -> Iterator[str]:
    """Yield the page of every entry."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages(value)


def _title(record: Path) -> str:
    """Return a decision's title with its number, as its first line has it."""
    return record.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
