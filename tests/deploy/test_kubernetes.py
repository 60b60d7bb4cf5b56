"""The Helm chart: rendered by Helm, valid for Kubernetes, and its container runs with the files that a pod gets."""

from __future__ import annotations

import base64
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from ruamel.yaml import YAML

from gateway.config import names
from gateway.telemetry import metric_names
from gateway.v1 import keys_pb2, keys_pb2_grpc
from tests.deploy.kubernetes_pod import Pod
from tests.deploy.kubernetes_schemas import custom_faults, documents, faults
from tests.gateway_process import free_port, of_sandbox
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess
from tools import dev_ca
from tools.go_tools import BUILD_WITHIN_S, NotBuilt, installed

CHART = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
HELM = ("helm.sh/helm/v3/cmd/helm", "v3.19.0")
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
WITHOUT_A_KEY = {name: value for name, value in ALL_FEATURES.items() if name != "externalSecret.keys.redis_url"}
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


@pytest.fixture(scope="module")
def helm() -> Path:
    return _tool(*HELM)


def _tool(package: str, version: str) -> Path:
    try:
        return installed(package, version)
    except NotBuilt as reason:
        pytest.skip(str(reason))


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


@pytest.fixture(params=["with Redis"])
def pod(
    request: pytest.FixtureRequest,
    helm: Path,
    sandbox: SandboxProcess,
    postgres_server: PostgresProcess,
    redis_server: RedisProcess,
) -> Iterator[tuple[Pod, Path, Mapping[str, str]]]:
    """The container of the chart, its files written, not started; the folder of its CA; its secrets."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can give files to another user; setpriv is in util-linux")
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    with tempfile.TemporaryDirectory(prefix="pgw-pod-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        ca_folder = folder / "ca"
        ca_folder.mkdir()
        dev_ca.make(ca_folder, datetime.now(UTC))
        secrets = {
            "INGESTION_HMAC_SECRET": settings.pop("INGESTION_HMAC_SECRET"),
            "ADMIN_API_KEY": settings.pop("ADMIN_API_KEY"),
            "PREDICTION_LAUNCH_KEY": settings.pop("PREDICTION_LAUNCH_KEY"),
            "DATABASE_URL": postgres_server.create_database(f"pod_{uuid.uuid4().hex}"),
            "REDIS_URL": redis_server.url,
            "GATEWAY_CACHE_KEYS": base64.b64encode(os.urandom(32)).decode(),
        }
        given = {"secrets.files.GATEWAY_EVIDENCE_KEY": "null"}
        if request.param == "with a volume":
            given |= {f"secrets.files.{name}": "null" for name in ("REDIS_URL", "GATEWAY_CACHE_KEYS")}
            given["data.existingClaim"] = "gateway-data"
            del secrets["REDIS_URL"], secrets["GATEWAY_CACHE_KEYS"]
        ports = {"service.port": str(free_port()), "admin.port": str(free_port())}
        values = folder / "values.yaml"
        with values.open("w") as file:
            YAML().dump({"policy": {"toml": POLICY}, "settings": settings}, file)
        (deployment,) = [
            each for each in manifests(helm, {**ports, **given}, "-f", str(values)) if each["kind"] == "Deployment"
        ]
        with Pod(deployment, folder) as made:
            made.volumes["secrets"].swap(**{key.lower(): value for key, value in secrets.items()})
            made.volumes["tls"].swap(
                tls__crt=(ca_folder / "gateway.pem").read_text(),
                tls__key=(ca_folder / "gateway.key").read_text(),
                ca__crt=(ca_folder / "ca.pem").read_text(),
            )
            made.volumes["policy"].swap(policy__toml=POLICY)
            yield made, ca_folder, secrets


POLICY = """
[[callers]]
name = "operations"
ids = ["spiffe://dev.internal/operations"]
allow = ["keys.read", "keys.revoke"]
tenants = ["*"]
operators = ["*"]
"""


def test_the_container_serves_with_the_files_of_a_pod(pod: tuple[Pod, Path, Mapping[str, str]]) -> None:
    """Files of root and the pod's group, read by user 1000; probes without a certificate; a rotated secret; SIGTERM."""
    running, ca_folder, secrets = pod
    running.start()
    _wait_until_ready(running)
    assert _answer(running, "liveness") == 200
    with _channel(running, ca_folder) as channel:
        keys: Any = keys_pb2_grpc.KeyServiceStub(channel)
        before = _secret_fingerprints(keys)
        running.volumes["secrets"].swap(
            **{key.lower(): value for key, value in {**secrets, "ADMIN_API_KEY": "another-key-0123456789"}.items()}
        )
        until = time.monotonic() + 20
        while _secret_fingerprints(keys) == before:
            assert time.monotonic() < until, "the new file is not read"
            time.sleep(0.2)
    code, took_s = running.end()
    assert code == 0
    assert took_s < running.grace_s


@pytest.mark.parametrize("pod", ["with a volume"], indirect=True)
def test_without_redis_the_volume_keeps_revocations(pod: tuple[Pod, Path, Mapping[str, str]]) -> None:
    """The pod may write its folder, which belongs to root and its group; the revoked key is in a file there."""
    running, ca_folder, _ = pod
    revoked = keys_pb2.RevokePlatformKeyRequest(key_id="0" * 64)
    running.start()
    _wait_until_ready(running)
    with _channel(running, ca_folder) as channel:
        keys: Any = keys_pb2_grpc.KeyServiceStub(channel)
        keys.RevokePlatformKey(revoked, timeout=10)  # STORE_UNAVAILABLE if it would be forgotten
    running.end()
    kept = Path(running.environment["GATEWAY_DATA_DIR"])
    assert any("0" * 64 in path.read_text(errors="replace") for path in kept.iterdir() if path.is_file())


def _secret_fingerprints(keys: Any) -> Sequence[str]:
    answer = keys.ListKeys(keys_pb2.ListKeysRequest(), timeout=5)
    return sorted(key.key_id for key in answer.keys)


def _wait_until_ready(pod: Pod) -> None:
    until = time.monotonic() + 40
    while (status := _answer(pod, "readiness")) != 200:
        assert pod.is_running, pod.log_path.read_text()[-3000:]
        assert time.monotonic() < until, f"{status}: {pod.log_path.read_text()[-3000:]}"
        time.sleep(0.1)


def _answer(pod: Pod, probe: str) -> int:
    """Ask as the kubelet does: TLS, the certificate not verified, none of its own. 0: no answer."""
    scheme, port, path = pod.probe(probe)
    assert (scheme, port) == ("HTTPS", "admin")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = pod.environment["GATEWAY_ADMIN_LISTEN"].replace("0.0.0.0", "127.0.0.1")
    try:
        with urllib.request.urlopen(f"https://{address}{path}", timeout=5, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def _channel(pod: Pod, ca_folder: Path) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        (ca_folder / "ca.pem").read_bytes(),
        (ca_folder / "operations.key").read_bytes(),
        (ca_folder / "operations.pem").read_bytes(),
    )
    return grpc.secure_channel(pod.environment["GATEWAY_LISTEN"].replace("0.0.0.0", "127.0.0.1"), credentials)
