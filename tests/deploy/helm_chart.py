"""The Helm chart and how a test renders it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHART = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
KUBERNETES = ("1.27", "1.30")
SECRET_KEYS = (
    *("ingestion_hmac_secret", "admin_api_key", "prediction_launch_key", "database_url", "redis_url"),
    *("gateway_cache_keys", "gateway_evidence_key"),
)
ALL_FEATURES = {
    "autoscaling.enabled": "true",
    "autoscaling.callsInFlight": "50",
    "serviceMonitor.enabled": "true",
    "serviceMonitor.tlsSecretName": "prometheus-tls",
    "prometheusRule.enabled": "true",
    "externalSecret.enabled": "true",
    "externalSecret.storeRef.name": "vault",
    **{f"externalSecret.keys.{key}": f"phoenix/{key}" for key in SECRET_KEYS},
    "upstreamCa.configMapName": "internal-ca",
    "data.existingClaim": "gateway-data",
    "settings.TENANT_ID": "tenant-1",
}


def render(helm: Path, values: Mapping[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with these values."""
    options = [option for name, value in values.items() for option in ("--set", f"{name}={value}")]
    fixed = ("--namespace", "phoenix", "--kube-version", f"{KUBERNETES[-1]}.0")
    return run(helm, "template", "phoenix-gateway", CHART, *fixed, *options, *more)


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit code."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)


def manifests(helm: Path, values: Mapping[str, str], *more: str) -> list[dict[str, Any]]:
    """Return the objects that the chart makes."""
    done = render(helm, values, *more)
    assert done.returncode == 0, done.stderr
    return [document for document in YAML(typ="safe").load_all(done.stdout) if document]
