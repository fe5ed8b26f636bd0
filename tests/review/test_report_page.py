"""The report in the app: every bar and reason leads to exactly its captions."""

from __future__ import annotations

import html
import re
from typing import Any

from starlette.testclient import TestClient

from factory.outcome import outcome_metrics
from factory.report.collect import collect
from factory.runs.run import SELECTION, Run
from tests.captioned_run import select_again


def shown(client: TestClient, address: str) -> int:
    """How many captions a gallery page says it has."""
    return int(re.findall(r"<h1>([\d,]+) caption", client.get(address).text)[0].replace(",", ""))


def test_every_bar_of_the_report_leads_to_its_captions(run: Run, client: TestClient) -> None:
    page = client.get("/report").text
    links = re.findall(
        r'<a href="(/\?score=[^"]*)" aria-label="Captions with (\w+) [\d.]+ to [\d.]+: ([\d,]+) caption', page
    )
    filters = {name for _, name, _ in links}
    assert len(filters) > 1
    counted: dict[str, dict[str, int]] = {}
    for address, name, count in links:
        address = html.unescape(address)
        assert shown(client, address) == int(count.replace(",", "")), address
        counted.setdefault(name, {})[address] = int(count.replace(",", ""))
    assert all(sum(bars.values()) == 240 for bars in counted.values())  # a bar cut by a threshold is two of one address


def test_every_reason_of_the_report_leads_to_its_captions(run: Run, client: TestClient) -> None:
    page = client.get("/report").text
    links = [html.unescape(one) for one in re.findall(r'<a href="(/\?reason=[^"]*)"', page)]
    reasons = dict(run.storage.scan([SELECTION]).collect()["reason"].drop_nulls().value_counts().iter_rows())
    assert len(links) == len(reasons) > 1
    assert sorted(shown(client, link) for link in links) == sorted(reasons.values())


def test_the_report_in_the_app_is_safe_and_names_no_directory(
    run: Run, client: TestClient, raw: dict[str, Any]
) -> None:
    answer = client.get("/report")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "sha256-" in policy
    assert run.storage.full() not in answer.text
    assert raw["name"] in answer.text


def test_a_run_that_has_not_finished_has_no_report(run: Run, client: TestClient) -> None:
    run.storage.remove("metrics.json")
    assert "has not finished once" in client.get("/report").text


def test_the_file_names_no_address_and_its_reasons_lead_into_its_own_gallery(run: Run) -> None:
    page = run.storage.read("report.html").decode()
    assert 'href="/' not in page
    assert 'href="#gallery" data-reason="1"' in page
    assert "factory review RUN" in page


def test_rates_are_told_with_the_engines_start_and_without_it(run: Run, raw: dict[str, Any]) -> None:
    outcome = select_again(run, raw)
    outcome.made.images["ok"] = 100
    outcome.made.used = {"start": 28.0, "captions": 9.0, "starved": 1.0}
    outcome.seconds |= {"caption": 40.0, "total": 50.0}
    outcome.metrics = outcome_metrics(outcome)
    now = outcome.metrics["this_time"]
    assert (now["images_per_s"], now["images_per_s_after_start"]) == (2.5, 10.0)
    assert any("2.5 images/s (10.0 without that start)" in line for line in outcome.lines())
    facts = {fact.label: fact.value for fact in collect(outcome.work, outcome.metrics).facts}
    assert facts["images/s this time"] == "2.5"
    assert facts["images/s without the engine's start"] == "10.0"
