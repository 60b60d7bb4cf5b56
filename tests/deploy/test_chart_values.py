"""Values of the Helm chart: what cannot work is refused by its name, and the rest reaches the gateway."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.deploy.helm_chart import ALL_FEATURES, CHART, KUBERNETES, manifests, render, run
from tools.go_tools import BUILD_WITHIN_S

WITHOUT_A_KEY = {name: value for name, value in ALL_FEATURES.items() if name != "externalSecret.keys.redis_url"}
pytestmark = pytest.mark.timeout(2 * BUILD_WITHIN_S + 120)  # the first run builds the tools


def test_revocations_are_kept_in_redis_or_on_a_volume(helm: Path) -> None:
    """With neither, a revoked key would come back with the next pod: the chart says so."""
    refused = render(helm, {"secrets.files.REDIS_URL": "null"})
    assert refused.returncode != 0
    assert "REDIS_URL and data.existingClaim are both empty" in refused.stderr
    (deployment,) = [
        each
        for each in manifests(helm, {"secrets.files.REDIS_URL": "null", "data.existingClaim": "gateway-data"})
        if each["kind"] == "Deployment"
    ]
    spec = deployment["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "data"]
    (container,) = spec["containers"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "data"]
    folder = {each["name"]: each["value"] for each in container["env"]}["GATEWAY_DATA_DIR"]
    assert (volume["persistentVolumeClaim"]["claimName"], mount["mountPath"]) == ("gateway-data", folder)
    without_operator = {"secrets.files.REDIS_URL": "null", "secrets.files.PREDICTION_LAUNCH_KEY": "null"}
    assert manifests(helm, without_operator)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicas": "0"}, "replicas"),
        ({"secrets.files.DATABASE_URL": "null"}, "DATABASE_URL"),
        ({"admin.clientAuth": "required"}, "clientAuth"),
        ({"settings.tenant_id": "tenant-1"}, "tenant_id"),
        ({"replicaCount": "3"}, "replicaCount"),
        ({**ALL_FEATURES, "externalSecret.storeRef.name": ""}, "externalSecret.storeRef.name"),
        (WITHOUT_A_KEY, "externalSecret.keys.redis_url"),
        ({"secrets.files": "null"}, "DATABASE_URL"),
        ({"secrets.files.GATEWAY_CACHE_KEYS": "null"}, "GATEWAY_CACHE_KEYS"),
        ({"settings.ADMIN_API_KEY": "abc"}, "settings.ADMIN_API_KEY and secrets.files.ADMIN_API_KEY"),
        ({"settings.DATABASE_URL_REF": "vault:a#b"}, "settings.DATABASE_URL_REF and secrets.files.DATABASE_URL"),
        ({"settings.REDIS_URL_FILE": "/x"}, "settings.REDIS_URL_FILE and secrets.files.REDIS_URL"),
        ({"settings.GATEWAY_LISTEN": "0.0.0.0:1"}, "settings.GATEWAY_LISTEN is set by the chart"),
        ({"settings.GATEWAY_DATA_DIR": "/x", "data.existingClaim": "c"}, "settings.GATEWAY_DATA_DIR"),
        ({"service.port": "9464"}, "service.port and admin.port"),
        ({"autoscaling.enabled": "true", "autoscaling.minReplicas": "9"}, "autoscaling.minReplicas"),
        ({"autoscaling.enabled": "true", "resources.requests": "null"}, "resources.requests.cpu"),
        ({"serviceMonitor.enabled": "true"}, "serviceMonitor.tlsSecretName"),
        ({"podDisruptionBudget.maxUnavailable": "some"}, "maxUnavailable"),
        ({"podLabels.app\\.kubernetes\\.io/name": "x"}, "podLabels has app.kubernetes.io/name"),
    ],
    ids=[
        *("replicas", "database", "probes", "setting", "unknown", "store", "store's key", "no secrets", "cache keys"),
        *(
            "secret twice",
            "reference",
            "file",
            "own setting",
            "own folder",
            "ports",
            "replicas of the autoscaler",
            "cpu",
        ),
        *("Prometheus", "disruption", "label"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(helm: Path, values: dict[str, str], named: str) -> None:
    """A pod that cannot work is not made; the message names what to change."""
    done = render(helm, values)
    assert done.returncode != 0
    assert named in done.stderr


def test_a_secret_may_come_from_a_store(helm: Path) -> None:
    """By reference, in place of a file of the Secret: also those that the chart asks for."""
    names = ("DATABASE_URL", "REDIS_URL", "GATEWAY_CACHE_KEYS", "PREDICTION_LAUNCH_KEY")
    values = {f"secrets.files.{name}": "null" for name in names}
    values |= {f"settings.{name}_REF": f"vault:phoenix#{name}" for name in names}
    (deployment,) = [each for each in manifests(helm, values) if each["kind"] == "Deployment"]
    given = {each["name"]: each["value"] for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {name: given[f"{name}_REF"] for name in names} == {name: f"vault:phoenix#{name}" for name in names}
    assert not {f"{name}_FILE" for name in names} & given.keys()


@pytest.mark.parametrize(("ports", "rules"), [("{443,6432}", [[53, 53], [443, 6432]]), ("null", [[53, 53]])])
def test_the_network_policy_opens_no_more_than_it_says(helm: Path, ports: str, rules: list[list[int]]) -> None:
    """A rule without ports would open every one."""
    made = manifests(helm, {"networkPolicy.egressPorts": ports})
    (policy,) = [each for each in made if each["kind"] == "NetworkPolicy"]
    assert rules == [[one["port"] for one in rule["ports"]] for rule in policy["spec"]["egress"]]


@pytest.mark.parametrize("release", ["game", "phoenix-gateway", "r" * 53])
def test_names_are_short_enough(helm: Path, release: str) -> None:
    """Kubernetes takes 63 characters for the name of a Service; Helm takes 53 for that of a release."""
    done = run(helm, "template", release, CHART, "--kube-version", f"{KUBERNETES[-1]}.0")
    assert done.returncode == 0, done.stderr
    made = [document for document in YAML(typ="safe").load_all(done.stdout) if document]
    assert max(len(each["metadata"]["name"]) for each in made) <= 63
    assert len({(each["kind"], each["metadata"]["name"]) for each in made}) == len(made)


def test_numbers_of_a_values_file_are_quoted(helm: Path, tmp_path: Path) -> None:
    """Helm makes a float of a number in a file: 1000000 would reach the gateway as 1e+06, which it refuses."""
    values = tmp_path / "values.yaml"
    values.write_text("settings: {GATEWAY_QUEUE_EVENTS: 1000000}\n")
    refused = render(helm, {}, "-f", str(values))
    assert refused.returncode != 0
    assert re.search(r"settings\W+GATEWAY_QUEUE_EVENTS\b.*\bstring\b", refused.stderr)
    values.write_text('settings: {GATEWAY_QUEUE_EVENTS: "1000000", PHOENIX_DEDUPLICATES_EVENTS: true}\n')
    (deployment,) = [each for each in manifests(helm, {}, "-f", str(values)) if each["kind"] == "Deployment"]
    given = {each["name"]: each["value"] for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert given["GATEWAY_QUEUE_EVENTS"] == "1000000"
    assert given["PHOENIX_DEDUPLICATES_EVENTS"] == "true"
