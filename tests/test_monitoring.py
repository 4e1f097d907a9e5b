"""What ships for Prometheus and Grafana, and the page about it, speak of metrics that there are."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from jobd.metrics import Census, Metrics

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
ALERTS = yaml.safe_load((ROOT / "conf" / "prometheus-alerts.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "conf" / "grafana-dashboard.json").read_text(encoding="utf-8"))
ADDED = {"job", "instance"}
"""Labels that Prometheus itself puts on every sample that it scrapes."""


def busy() -> Metrics:
    """The metrics of a daemon to which everything that is measured has happened."""
    metrics = Metrics()
    metrics.created("BEIJING1", "M")
    metrics.started("BEIJING1", 0.2)
    metrics.ended("BEIJING1", "F", "exit_code", 3.0, log_bytes=10)
    metrics.fired([0.1])
    metrics.serves("BEIJING1", 32, lambda: True, lambda: 1.0)
    metrics.delivered("webhook", "failure", 0.3)
    metrics.gave_up("mail")
    metrics.has_connections(100, lambda: 2, lambda: 1)
    metrics.http_requests.labels("/v1/jobs", "GET", "200").inc()
    metrics.http_duration.labels("/v1/jobs").observe(0.1)
    metrics.census = Census({("BEIJING1", "waiting"): 1}, {"BEIJING1": 1.0}, 2.0, 1, 0)
    return metrics


def exported() -> dict[str, set[str]]:
    """Each sample's name -> its labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(generate_latest(busy().registry).decode()):
        assert family.samples, f"{family.name} has no sample: `busy` forgets it"
        for sample in family.samples:
            labels[sample.name] |= set(sample.labels)
    return {name: found | ADDED for name, found in labels.items()} | {"up": ADDED}


EXPORTED = exported()


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression."""
    for rule in alert_rules():
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def walk(node: Any) -> Iterator[Any]:
    """A parsed expression and all that is in it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from walk(inner)
    for argument in getattr(node, "args", None) or []:
        yield from walk(argument)


def faults(expression: str) -> list[str]:
    """Metrics and labels in an expression that nothing exports."""
    nodes = list(walk(promql.parse(expression)))
    selectors = [node for node in nodes if isinstance(node, promql.VectorSelector)]
    found = [f"no metric {node.name}" for node in selectors if node.name not in EXPORTED]
    known = set().union(*(EXPORTED.get(node.name, set()) for node in selectors))
    for node in selectors:
        matched = {matcher.name for matcher in node.matchers.matchers}
        found += [f"{node.name} has no label {name}" for name in matched - EXPORTED.get(node.name, set())]
    for node in nodes:
        modifier = getattr(node, "modifier", None)
        grouping = getattr(modifier, "matching", modifier)
        grouped = grouping.labels if grouping is not None else []
        if isinstance(node, promql.AggregateExpr):
            inside = [inner for inner in walk(node.expr) if isinstance(inner, promql.VectorSelector)]
            found += [
                f"{inner.name} has no label {name}"
                for name in grouped
                for inner in inside
                if name not in EXPORTED.get(inner.name, set())
            ]
        else:
            found += [f"nothing here has the label {name}" for name in grouped if name not in known]
    return found


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_expression_is_about_what_is_exported(where: str, expression: str) -> None:
    assert faults(expression) == [], where


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(jobd_no_such_total[5m])",
        'jobd_execs{state="waiting"}',
        "sum by (exec_id) (jobd_execs)",
        "histogram_quantile(0.9, sum by (le, user) (rate(jobd_exec_run_duration_seconds_bucket[5m])))",
        "sum(jobd_execs) / on (nothing) max(jobd_region_max_running)",
        "max(jobd_execs) unless max(jobd_region_down)",
    ],
)
def test_a_wrong_expression_would_be_found(wrong: str) -> None:
    assert faults(wrong)


def test_what_an_alert_says_uses_labels_that_it_has() -> None:
    for rule in alert_rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        said = " ".join(rule["annotations"].values())
        for name in re.findall(r"\$labels\.(\w+)", said):
            assert re.search(rf"by \([^)]*\b{name}\b", rule["expr"]) or name == "instance", rule["alert"]
    names = [rule["alert"] for rule in alert_rules()]
    assert len(set(names)) == len(names)


def test_every_metric_of_jobds_own_that_counts_trouble_or_work_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", []))
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in EXPORTED if name.startswith("jobd_")}
    assert [name for name in sorted(names) if name not in shown] == []


def test_the_dashboard_can_be_imported_anywhere() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert DASHBOARD.get("id") is None
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([panel.get("targets") for panel in DASHBOARD["panels"]])))
    assert used <= {*variables, "__rate_interval"}
    for name in ("instance", "region"):
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables[name]["definition"]).groups()  # type: ignore[union-attr]
        assert label in EXPORTED[metric]


def test_the_scrape_example_reads_the_token_from_a_file() -> None:
    config = yaml.safe_load((ROOT / "conf" / "prometheus.yml").read_text(encoding="utf-8"))
    (scrape,) = config["scrape_configs"]
    assert scrape["job_name"] == "jobd"
    assert scrape["metrics_path"] == "/metrics"
    assert set(scrape["authorization"]) == {"type", "credentials_file"}
    assert config["rule_files"][0].endswith("prometheus-alerts.yml")


def documented() -> dict[str, tuple[str, set[str]]]:
    """Metric -> type and labels, as the page's tables have them."""
    rows = re.findall(r"^\| `((?:jobd|process|python)_\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    return {name: (type, set(re.findall(r"`(\w+)`", labels))) for name, type, labels in rows}


def test_the_page_names_every_metric_with_its_type_and_labels() -> None:
    there = {}
    for family in text_string_to_metric_families(generate_latest(busy().registry).decode()):
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        there[name] = (family.type, labels)
    assert documented() == there


def test_the_page_names_every_alert() -> None:
    assert [rule["alert"] for rule in alert_rules() if f"`{rule['alert']}`" not in PAGE] == []


def test_the_proxy_does_not_pass_metrics_on() -> None:
    conf = (ROOT / "conf" / "nginx.conf").read_text()
    assert re.search(r"location ~ \^/metrics/\?\$ \{\s+return 404;\s+\}", conf)
