"""The objects that the Helm chart makes: valid for Kubernetes, and true to what the gateway has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gateway.config import names
from gateway.telemetry import metric_names
from tests.deploy.helm_chart import ALL_FEATURES, CHART, KUBERNETES, manifests, render, run
from tests.deploy.kubernetes_schemas import custom_faults, documents, faults
from tools.go_tools import BUILD_WITHIN_S, NotBuilt

OPEN_VALUES = {
    "imagePullSecrets": '[{"name": "given-1"}]',
    "service.annotations": '{"example.com/given-2": "x"}',
    "serviceMonitor.labels": '{"given-3": "x"}',
    "networkPolicy.callers": '[{"namespaceSelector": {"matchLabels": {"given-4": "x"}}}]',
    "networkPolicy.monitoring": '[{"namespaceSelector": {"matchLabels": {"given-5": "x"}}}]',
    "podAnnotations": '{"given-6": "x"}',
    "podLabels": '{"given-7": "x"}',
    "nodeSelector": '{"given-8": "x"}',
    "tolerations": '[{"key": "given-9", "operator": "Exists"}]',
    "affinity.podAntiAffinity": '{"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "given-10"}]}',
    "priorityClassName": '"given-11"',
    "resources": '{"requests": {"cpu": "1"}, "limits": {"example.com/given-12": "1"}}',
    "image": '{"repository": "given-13", "tag": "given-14", "pullPolicy": "Never"}',
    "podDisruptionBudget.maxUnavailable": '"25%"',
}
"""Values that the chart hands on as they are, and others that no test sets otherwise."""
KINDS = {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
OTHERS_KINDS = {"ServiceMonitor", "PrometheusRule", "ExternalSecret"}
pytestmark = pytest.mark.timeout(2 * BUILD_WITHIN_S + 120)  # the first run builds the tools


def test_every_object_is_valid(helm: Path) -> None:
    """Kubernetes would take each object, in the oldest supported version and a newer one. Helm finds nothing to say."""
    lint = run(helm, "lint", "--strict", CHART)
    assert lint.returncode == 0, lint.stdout
    made = manifests(helm, ALL_FEATURES)
    assert KINDS | OTHERS_KINDS == {each["kind"] for each in made}
    own = [each for each in made if each["kind"] not in OTHERS_KINDS]
    for version in KUBERNETES:
        try:
            folder = documents(version)
        except NotBuilt as reason:
            pytest.skip(str(reason))
        assert [fault for each in own for fault in faults(folder, each)] == []
        (deployment,) = [each for each in own if each["kind"] == "Deployment"]
        deployment["spec"]["template"]["spec"]["contaners"] = []
        assert faults(folder, deployment) != []
        del deployment["spec"]["template"]["spec"]["contaners"]


def test_values_that_are_handed_on_make_valid_objects(helm: Path) -> None:
    """Each of them is in some object, and Kubernetes would take all objects."""
    more = [word for name, value in OPEN_VALUES.items() for word in ("--set-json", f"{name}={value}")]
    made = manifests(helm, ALL_FEATURES, *more)
    shown = str(made)
    assert [number for number in range(1, 15) if not re.search(rf"given-{number}\b", shown)] == []
    assert "25%" in shown
    try:
        folder = documents(KUBERNETES[-1])
    except NotBuilt as reason:
        pytest.skip(str(reason))
    assert [fault for each in made if each["kind"] not in OTHERS_KINDS for fault in faults(folder, each)] == []
    assert [fault for each in made if each["kind"] in OTHERS_KINDS for fault in custom_faults(each)] == []


@pytest.mark.parametrize("tls", ["", "prometheus-tls"])
def test_the_objects_of_operators_are_valid(helm: Path, tls: str) -> None:
    """The Prometheus Operator and the External Secrets Operator would take theirs."""
    open_metrics = {} if tls else {"admin.clientAuth": "none"}
    made = manifests(helm, {**ALL_FEATURES, **open_metrics, "serviceMonitor.tlsSecretName": tls})
    theirs = {each["kind"]: each for each in made if each["kind"] in OTHERS_KINDS}
    assert theirs.keys() == OTHERS_KINDS
    assert [fault for each in theirs.values() for fault in custom_faults(each)] == []
    theirs["ServiceMonitor"]["spec"]["endpoints"][0]["tlsConfig"]["ca"]["secret"].pop("key")
    theirs["ServiceMonitor"]["spec"]["endpoints"][0]["prot"] = "admin"
    theirs["ExternalSecret"]["spec"]["secretStoreRef"]["kind"] = "Vault"
    theirs["PrometheusRule"]["spec"]["groups"][0]["rules"][0]["for"] = "5 minutes"
    assert len([fault for each in theirs.values() for fault in custom_faults(each)]) == 4


def test_the_alerts_of_the_chart_are_those_of_the_file(helm: Path) -> None:
    """Only the links to the runbook are completed."""
    url = "https://wiki.example/gateway/"
    (made,) = [
        each
        for each in manifests(helm, {**ALL_FEATURES, "prometheusRule.docsUrl": url})
        if each["kind"] == "PrometheusRule"
    ]
    rules = YAML(typ="safe").load((CHART.parent / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["annotations"]["runbook_url"] = url + rule["annotations"]["runbook_url"]
    assert made["spec"] == rules
    refused = render(helm, {"prometheusRule.enabled": "true", "prometheusRule.docsUrl": "wiki.example"})
    assert refused.returncode != 0
    assert "docsUrl" in refused.stderr


def test_every_setting_exists(helm: Path) -> None:
    """A setting that was renamed or removed would be given in vain."""
    (deployment,) = [each for each in manifests(helm, ALL_FEATURES) if each["kind"] == "Deployment"]
    given = {each["name"] for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    settings = names.PROCESS + names.TENANT_OWN + names.TENANT_SHARED + names.OPERATOR_OWN + names.OPERATOR_SHARED
    assert given - {names.CONFIG_FILE, *names.with_files(settings)} == set()


def test_the_autoscaler_reads_a_metric_that_exists(helm: Path) -> None:
    """After a rename, or as a counter, it would scale by nothing, in silence."""
    (scaler,) = [each for each in manifests(helm, ALL_FEATURES) if each["kind"] == "HorizontalPodAutoscaler"]
    read = {each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if each["type"] == "Pods"}
    assert read == {metric_names.CALLS_IN_FLIGHT.name}
    assert metric_names.CALLS_IN_FLIGHT.kind is metric_names.Kind.GAUGE
