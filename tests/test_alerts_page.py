"""The examples of docs/alerts.md are right: settings, commands, what is said, and how it is verified."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml
from click.testing import CliRunner

from otel_wandb.alert_report import Trial
from otel_wandb.alerts.engine import AlertRules, Moment
from otel_wandb.alerts.finding import Finding
from otel_wandb.alerts.reading import _LIMIT_FIELDS, _RULE_FIELDS, parse_plan
from otel_wandb.cli import main
from otel_wandb.config import resolve
from otel_wandb.delivery.alert_carriers import encode_alert
from otel_wandb.delivery.credentials import Secret, app_url
from otel_wandb.delivery.webhook import ID_HEADER, SIGNATURE_HEADER, sign
from otel_wandb.store import QueuedAlert
from tests.alert_samples import plan
from tests.peers.environments import CHECKOUT

PAGE: Final = (CHECKOUT / "docs" / "alerts.md").read_text()


AT_0914_S = 1_795_598_040.0
"""2026-11-25 09:14 UTC, when the alert of the page fires."""


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert {name for name, _ in fenced} == {"yaml", "sh", "text", "json", "python"}
    return [text for name, text in fenced if name == language]


def test_the_settings_are_right(tmp_path: Path) -> None:
    rules = []
    for number, text in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        rules += [rule.name for rule in parse_plan(resolve({}, {}, file).settings.alerts).rules]
    assert rules == [
        "slow_answers",
        "bad_answers",
        "cost_jump",
        "operation_fails",
        "operation_slow_and_failing",
    ]


def test_every_field_is_in_the_table() -> None:
    first_cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`([a-z_]+)`", "".join(first_cells)))
    shortened = {f"{kind}_by_percent" for kind in ("falls", "changes")}
    assert {*_RULE_FIELDS, *_LIMIT_FIELDS} - shortened <= named


def test_the_mistake_is_told_as_it_says() -> None:
    (told,) = re.findall(r"`(rule slow_answers: for is 0;[^`]*)`", PAGE)
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        plan("rules: {slow_answers: {key: latency/p95_ms, above: 2000, for: 0}}")


def test_the_rule_finds_what_is_shown() -> None:
    """In eight hours of rows, of which some are slow."""
    rules = AlertRules(plan(yaml.safe_dump(yaml.safe_load(blocks("yaml")[0])["alerts"])).rules, interval_s=60)
    findings: list[Finding] = []
    for step in range(480):
        minute = step - 434  # since 09:14
        value = 2610.0 if -2 <= minute <= 12 else 1204.0
        moment = Moment("rag", "run", step, AT_0914_S + 60 * minute)
        findings += rules.evaluate({"latency/p95_ms": value}, moment).findings
    (shown,) = blocks("text")
    assert f"{Trial(480, tuple(findings), {}).render()}\n" == shown


def test_the_commands_exist() -> None:
    lines = [line for text in blocks("sh") for line in text.splitlines()]
    assert len(lines) == 4
    for line in lines:
        command, *options = shlex.split(line, comments=True)[1:]
        result = CliRunner().invoke(main, [command, "--help"])
        assert result.exit_code == 0, line
        assert all(option in result.output for option in options if option.startswith("--")), line


def test_a_webhook_gets_what_is_shown() -> None:
    (shown,) = blocks("json")
    told = json.loads(shown)
    entity, _, project = told["project"].partition("/")
    texts = [told[name] for name in ("id", "name", "service", "state", "level", "title", "text", "run")]
    place = (1, "pager", 1, "c", entity, project)
    alert = QueuedAlert._make((*place, *texts, told["step"], AT_0914_S, None, None))
    assert json.loads(encode_alert(alert, told["url"])) == told
    assert told["url"] == f"{app_url('https://api.wandb.ai', {})}/{told['project']}/runs/{told['run']}"


def test_the_receiver_verifies_a_signature() -> None:
    (code,) = blocks("python")
    names: dict[str, Callable[[bytes, str, str], bool]] = {}
    exec(code, names)
    signature = sign(Secret("s3cret"), b"{}")
    assert names["is_genuine"](b"{}", signature, "s3cret")
    assert not names["is_genuine"](b"{ }", signature, "s3cret")
    assert not names["is_genuine"](b"{}", signature, "other")
    assert f"`{SIGNATURE_HEADER}`" in PAGE
    assert f"`{ID_HEADER}`" in PAGE


def test_the_defaults_are_those_of_the_code() -> None:
    (one,) = plan("rules: {a: {key: a/b, rises_by: 1}}").rules
    defaults = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert defaults["against"] == str(one.limits[0].against)
    assert defaults["for"] == str(one.needed)
    assert defaults["cooldown_s"] == f"{one.cooldown_s:g}"
    assert defaults["level"] == one.level
    assert yaml.safe_load(f"late_s: {plan('{}').late_s:g}") == {"late_s": 900}
