"""The alerts and the dashboard: valid, documented, and about metrics, labels and values that a gateway has.

tests/faults/test_alerts.py sees the alerts fire in a real Prometheus.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import errors
from gateway.telemetry import metric_names
from tests.certificates import Authority
from tests.deploy import alert_rules
from tests.deploy.alert_cases import CASES
from tests.deploy.alert_rules import PREFIX, RULES, Selector
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

DOC = alert_rules.DEPLOY.parent / "docs" / "alerts.md"
TARGET_LABELS = {"job", "instance", "worker"}
MADE_LABELS = {"service", "le"}
"""What a rule makes of `method`, and the bounds of histograms."""
Served = Mapping[str, Mapping[str, set[str]]]


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    return found


@pytest.fixture(scope="module")
def served(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The values of each label of each metric of a gateway that has just started."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    certificate, key = authority.issue("127.0.0.1").write(folder, "server")
    settings = {
        **of_sandbox(sandbox_process.urls, sandbox_process.environ),
        "GATEWAY_TLS_CERT_FILE": str(certificate),
        "GATEWAY_TLS_KEY_FILE": str(key),
    }
    with GatewayProcess(settings, credentials=authority.credentials(None)) as gateway:
        url = f"http://{gateway.admin_address}/metrics"
        page = build_opener(ProxyHandler({})).open(url, timeout=10).read().decode()
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
    for metric in metric_names.ALL:
        if metric.is_native:  # as a Prometheus that takes native histograms has it
            found[metric.name] = found[f"{metric.name}_count"]
        found.setdefault(metric.name, {label: set() for label in metric.labels})  # one that has no series yet
    return found


def queries() -> list[tuple[str, str]]:
    """Every query of the rules and of the dashboard, by what it is for."""
    rules = [
        (str(rule.get("alert", rule.get("record"))), str(rule["expr"]))
        for group in alert_rules.groups()
        for rule in group["rules"]
    ]
    return rules + [(title, alert_rules.filled(query)) for title, query in alert_rules.panel_queries()]


def test_the_rules_are_valid(promtool: str, tmp_path: Path) -> None:
    """As Prometheus itself reads them; and so is the form with short times that a test loads."""
    short = tmp_path / "short.yml"
    short.write_text(alert_rules.shortened(RULES.read_text(encoding="utf-8")))
    done = subprocess.run([promtool, "check", "rules", RULES, short], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_queries_of_the_dashboard_are_valid(promtool: str, tmp_path: Path) -> None:
    """Each could be a recording rule."""
    rules = [
        {"record": f"panel:{number}", "expr": alert_rules.filled(query)}
        for number, (_, query) in enumerate(alert_rules.panel_queries())
    ]
    path = tmp_path / "panels.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("budget", [False, True], ids=["causes", "error budget"])
def test_every_alert_fires_and_stops(promtool: str, tmp_path: Path, budget: bool) -> None:
    """In promtool's own time, with series as a gateway would have them. A new alert needs a case.

    The error budget has its own run: its recording rules would cost the others most of their time.
    """
    assert {PREFIX + name for name in CASES} == alert_rules.alerts().keys()
    tests = []
    for name, case in CASES.items():
        if name.startswith("ErrorBudget") != budget:
            continue
        expression = f'count(ALERTS{{alertname="{PREFIX}{name}",alertstate="firing"}})'
        expected = {case.quiet_min: [], case.fires_min: [{"value": 1}], case.ends_min: []}
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{minutes}m", "exp_samples": samples}
                    for minutes, samples in expected.items()
                ],
            }
        )
    path = tmp_path / "tests.json"
    rules = tmp_path / "rules.json"  # JSON is YAML
    kept = [group for group in alert_rules.groups() if budget or any("alert" in rule for rule in group["rules"])]
    rules.write_text(json.dumps({"groups": kept}))
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    """With the same severity, and an address that leads there."""
    text = DOC.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(alert_rules.alerts())
    for name, rule in alert_rules.alerts().items():
        severity = rule["labels"]["severity"]
        assert severity in ("critical", "warning")
        assert sections[name].startswith(f"{severity.capitalize()}. **Means**: "), name
        assert [sections[name].count(part) for part in ("**Look at** ", "**Do**: ")] == [1, 1], name
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{name.lower()}"
        assert rule["annotations"]["summary"].endswith(".")


def test_the_error_budget_counts_our_own_faults() -> None:
    """Each reason whose status blames the gateway or Phoenix; not what a person switched off, and no stop."""
    kinds: list[type[errors.GatewayError]] = [errors.GatewayError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    blamed = {kind.reason for kind in kinds if kind.code in ("INTERNAL", "UNAVAILABLE", "UNKNOWN")}
    blamed |= {errors.PhoenixTimeout.reason, errors.Overloaded.reason}
    blamed -= {errors.Stopping.reason, errors.Disabled.reason}
    counted = {
        frozenset(value.split("|"))
        for name, query in queries()
        if ":" in name
        for selector in alert_rules.selectors(query)
        for label, _, value in selector.matchers
        if label == "reason"
    }
    assert counted == {frozenset(blamed)}


def test_what_is_selected_exists(served: Served) -> None:
    """Every metric, label and value that a rule or a panel names: a wrong name never fires, in silence."""
    faults = [
        f"{name}: {fault}"
        for name, query in queries()
        for selector in alert_rules.selectors(query)
        for fault in unknown(selector, served)
    ]
    assert faults == []
    recorded = {found for _, query in queries() for found in re.findall(r"\b\w+:\w+:\w+\b", query)}
    assert recorded <= alert_rules.records()


def test_what_is_grouped_by_exists(served: Served) -> None:
    """A label that no metric of the query has would put everything into one group."""
    for name, query in queries():
        metrics = {selector.metric for selector in alert_rules.selectors(query)}
        known = {label for metric in metrics for label in served.get(metric, {})} | TARGET_LABELS | MADE_LABELS
        assert alert_rules.grouping_labels(query) - known == set(), name


def test_the_dashboard_is_whole() -> None:
    """Each panel has its own id and place, says what it shows, and asks the chosen Prometheus."""
    panels = alert_rules.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert [panel["title"] for panel in shown if not panel["description"] or not panel["targets"]] == []
    assert {target["datasource"]["uid"] for panel in shown for target in panel["targets"]} == {"${datasource}"}
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert {"$service", "Phoenix", "Events and queue", "Wallet", "Keys", "Limits", "Process"} <= set(rows)


def test_every_latency_is_asked_for_in_both_forms() -> None:
    """Fixed buckets, or a native histogram with the same matchers: a Prometheus that takes these has no others."""
    native = {metric.name for metric in metric_names.ALL if metric.is_native}
    for name, query in queries():
        asked = [
            one for one in alert_rules.selectors(query) if re.sub(r"_(bucket|sum|count)$", "", one.metric) in native
        ]
        classic = {one.metric.removesuffix("_bucket"): one.matchers for one in asked if one.metric.endswith("_bucket")}
        assert {one.metric: one.matchers for one in asked if one.metric in native} == classic, name
        assert len(asked) == 2 * len(classic), name


def test_every_metric_is_shown_or_alerted_on() -> None:
    """A metric that nobody looks at is not worth its name."""
    used = {selector.metric for _, query in queries() for selector in alert_rules.selectors(query)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert {metric.name for metric in metric_names.ALL} - families == {"phoenix_gateway_secret_store_reads_total"}


def unknown(selector: Selector, served: Served) -> list[str]:
    """Return what a selector names that the gateway does not have."""
    labels = served.get(selector.metric)
    if labels is None:
        return [selector.metric]
    faults = []
    for label, operator, value in selector.matchers:
        if label in TARGET_LABELS:
            continue
        known = labels.get(label)
        if known is None:
            faults.append(f"{selector.metric} has no label {label}")
        elif operator in ("=", "!=") and value and value not in known | later(selector.metric, label):
            faults.append(f"{selector.metric} has no {label} {value}")
        elif operator in ("=~", "!~"):
            values = known | later(selector.metric, label)
            missing = [each for each in alternatives(value) if not any(re.fullmatch(each, one) for one in values)]
            faults += [f"{selector.metric} has no {label} like {each}" for each in missing]
    return faults


def alternatives(pattern: str) -> list[str]:
    """Return the parts of a list of words; any other pattern is one."""
    return pattern.split("|") if re.fullmatch(r"[\w|]+", pattern) else [pattern]


def later(metric: str, label: str) -> set[str]:
    """Return the values that a series gets only when it happens: the ends of calls."""
    kinds: list[type[errors.GatewayError]] = [errors.GatewayError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ends = {"reason": {kind.reason for kind in kinds}, "status": {kind.code for kind in kinds} | {"OK"}}
    return ends.get(label, set()) if metric == metric_names.CALLS.name else set()
