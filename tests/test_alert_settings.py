"""The setting `alerts`: what it means, the one text for it, and a sentence for each mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from otel_wandb.alerts.plan import DEFAULT_PLAN, Group, Limit, Plan, Route, Rule, write_plan
from otel_wandb.alerts.reading import parse_plan, read_plan
from otel_wandb.config import Settings, resolve
from otel_wandb.errors import ConfigError
from tests.alert_samples import any_rules, plan

NAMED = "begin with a letter, and have at most 50 characters"
LIKE_A_KEY = "section/name as in the rows, such as latency/p95_ms, with at most one * in the name"
LIMITS = "above, below, rises_by, falls_by, changes_by (each _by also as _by_percent)"


EVERYTHING = """
rules:
  slow:
    key: latency/p95_ms
    above: 2000
    recover: 1500
    for: 3
    within: 5
    recover_for: 2
    cooldown_s: 600
    level: error
    title: Answers are slow
    routes: [pager, log]
  dear: {key: cost/total_usd, rises_by_percent: 100, rises_by: 1, against: 6}
  bad: {any: [{key: errors/*_rate_percent, above: 5}, {all: [{key: a/b, below: 1}, {key: a/c, above: 2}]}]}
routes:
  wandb: {level: warn}
  pager: {url_file: pager.url, secret_variable: PAGER_SECRET, level: error, timeout_s: 5}
  chat: {url: "https://chat.example/hook"}
late_s: 600
"""


def test_everything_that_can_be_said() -> None:
    assert read_plan(yaml.safe_load(EVERYTHING), lambda path: f"/etc/{path}") == Plan(
        rules=(
            Rule(
                "bad",
                Group(
                    "any",
                    (
                        Limit("errors/*_rate_percent", "above", 5.0),
                        Group("all", (Limit("a/b", "below", 1.0), Limit("a/c", "above", 2.0))),
                    ),
                ),
                "Bad",
            ),
            Rule("dear", Limit("cost/total_usd", "rises", 1.0, 100.0, against=6), "Dear"),
            Rule(
                "slow",
                Limit("latency/p95_ms", "above", 2000.0, recover=1500.0),
                "Answers are slow",
                "error",
                needed=3,
                within=5,
                recover_for=2,
                cooldown_s=600.0,
                routes=("log", "pager"),
            ),
        ),
        routes=(
            Route("chat", url="https://chat.example/hook"),
            Route("log"),
            Route(
                "pager",
                level="error",
                url_file="/etc/pager.url",
                secret_variable="PAGER_SECRET",
                timeout_s=5.0,
            ),
            Route("wandb", level="warn"),
        ),
        late_s=600.0,
    )


def test_where_an_alert_goes() -> None:
    found = plan(EVERYTHING)
    assert found.routes_for("slow", "error") == ("log", "pager")
    assert found.routes_for("bad", "warn") == ("chat", "log", "wandb")
    assert found.routes_for("drift_of_a_view", "info") == ("chat", "log")
    assert plan("routes: {wandb: false, log: true}").routes == (Route("log"),)
    assert plan("routes: {wandb: false, log: false}").routes == ()


@examples(max_examples=100, deadline=None)
@given(
    any_rules(),
    st.sampled_from((60.0, 900.0)),
    st.lists(st.sampled_from(["log", "wandb", "x", "y"]), unique=True),
)
def test_one_text_for_one_plan(rules: list[Rule], late_s: float, names: list[str]) -> None:
    routes = tuple(
        Route(name, level="warn")
        if name in ("log", "wandb")
        else Route(name, url_variable="X", timeout_s=2.5)
        for name in sorted(names)
    )
    one = Plan(tuple(rules), routes, late_s)
    assert parse_plan(write_plan(one)) == one
    assert write_plan(parse_plan(write_plan(one))) == write_plan(one)


def test_the_default_plan_is_the_empty_text() -> None:
    assert write_plan(DEFAULT_PLAN) == ""
    assert parse_plan("") == read_plan({}) == DEFAULT_PLAN


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rule: {}", "there is no field 'rule'; did you mean 'rules'?"),
        ("rules: [1]", "rules is [1]; it must be a mapping of rules by name"),
        ("late_s: 1", "late_s is 1; it must be a number from 60 to 86400"),
        (
            "rules: {1a: {}}",
            f"rule '1a': its name must consist of letters, digits and _, {NAMED}",
        ),
        (
            "rules: {degradation_detected: {}}",
            "rule 'degradation_detected': its name must not be degradation_detected, which is a key of its "
            "own",
        ),
        ("rules: {a: 7}", "rule a: it is 7; it must be a mapping of fields, such as key and above"),
        (
            "rules: {a: {key: a/b, abvoe: 7}}",
            "rule a: there is no field 'abvoe'; did you mean 'above'?",
        ),
        ("rules: {a: {key: a/b, zzz: 7}}", "rule a: there is no field 'zzz'; docs/alerts.md lists all"),
        ("rules: {a: {above: 7}}", "rule a: it has no key; name one of the rows, such as latency/p95_ms"),
        (
            "rules: {a: {key: latency.p95, above: 7}}",
            f"rule a: key is 'latency.p95'; it must be {LIKE_A_KEY}",
        ),
        (
            "rules: {a: {key: a/*_*, above: 7}}",
            f"rule a: key is 'a/*_*'; it must be {LIKE_A_KEY}",
        ),
        ("rules: {a: {key: a/b, above: high}}", "rule a: above is 'high'; it must be a number"),
        ("rules: {a: {key: a/b, above: true}}", "rule a: above is True; it must be a number"),
        ("rules: {a: {key: a/b, above: .nan}}", "rule a: above is nan; it must be a number"),
        (
            "rules: {a: {key: a/b}}",
            f"rule a: it has no limit; it must have one of {LIMITS}",
        ),
        (
            "rules: {a: {key: a/b, above: 1, falls_by_percent: 3}}",
            f"rule a: it has above and falls; it must have one of {LIMITS}",
        ),
        ("rules: {a: {key: a/b, rises_by: 0}}", "rule a: rises_by is 0; it must be a number over 0"),
        (
            "rules: {a: {key: a/b, rises_by: 1, against: 0}}",
            "rule a: against is 0; it must be a whole number from 1 to 1000",
        ),
        (
            "rules: {a: {key: a/*, rises_by: 1, against: 61}}",
            "rule a: against is 61; it must not be over 60 where the key has a *",
        ),
        (
            "rules: {a: {key: a/b, above: 1, against: 3}}",
            "rule a: against belongs to a change, such as rises_by; above and below need none",
        ),
        (
            "rules: {a: {key: a/b, rises_by: 1, recover: 3}}",
            "rule a: recover belongs to above or below; a change recovers when it is over",
        ),
        (
            "rules: {a: {key: a/b, above: 1, recover: 3}}",
            "rule a: recover is 3; it must not be over above, which is 1",
        ),
        (
            "rules: {a: {key: a/b, below: 3, recover: 1}}",
            "rule a: recover is 1; it must not be under below, which is 3",
        ),
        (
            "rules: {a: {key: a/b, above: 1, for: 0}}",
            "rule a: for is 0; it must be a whole number from 1 to 1000",
        ),
        (
            "rules: {a: {key: a/b, above: 1, for: 1.5}}",
            "rule a: for is 1.5; it must be a whole number from 1 to 1000",
        ),
        (
            "rules: {a: {key: a/b, above: 1, for: 3, within: 2}}",
            "rule a: within is 2; it must not be under for, which is 3",
        ),
        (
            "rules: {a: {key: a/b, above: 1, level: fatal}}",
            "rule a: level is 'fatal'; it must be one of info, warn, error",
        ),
        (
            "rules: {a: {key: a/b, above: 1, cooldown_s: -1}}",
            "rule a: cooldown_s is -1; it must be a number from 0 to 604800",
        ),
        (
            f"rules: {{a: {{key: a/b, above: 1, title: {'x' * 51}}}}}",
            f"rule a: title is '{'x' * 51}'; it must be a text of 1 to 50 characters on one line",
        ),
        (
            "rules: {a: {key: a/b, above: 1, routes: [pagr]}}",
            "rule a: routes names 'pagr'; there are log, wandb",
        ),
        (
            "rules: {a: {key: a/b, above: 1, routes: 7}}",
            "rule a: routes is 7; it must be the name of a route, or a list of names",
        ),
        ("rules: {a: {all: []}}", "rule a: all is []; it must be a list of conditions"),
        (
            "rules: {a: {all: [{key: a/b, above: 1}], above: 3}}",
            "rule a: above stands beside all; it belongs into one of its conditions",
        ),
        (
            "rules: {a: {any: [{key: a/b, above: 1}, 7]}}",
            "rule a, condition 2 of any: it is 7; it must be a mapping of fields, such as key and above",
        ),
        (
            "rules: {a: {any: [{key: a/b, above: 1}, {all: [{key: a/c, above: x}]}]}}",
            "rule a, condition 2 of any, condition 1 of all: above is 'x'; it must be a number",
        ),
        (
            "rules: {a: {any: [{key: a/b, above: 1, for: 2}]}}",
            "rule a, condition 1 of any: there is no field 'for'; docs/alerts.md lists all",
        ),
        (
            f"rules: {{a: {{any: [{', '.join(['{key: a/b, above: 1}'] * 21)}]}}}}",
            "rule a: it has 21 conditions; at most 20 are allowed",
        ),
        (
            f"rules: {{{', '.join(f'r{n}: ' + '{key: a/b, above: 1}' for n in range(51))}}}",
            "there are 51 rules; at most 50 are allowed",
        ),
        ("routes: {log: 7}", "route log: it is 7; it must be true, false or a mapping with a level"),
        ("routes: {wandb: {url: x}}", "route wandb: there is no field 'url'; docs/alerts.md lists all"),
        (
            "routes: {'a b': {url: x}}",
            f"route 'a b': its name must consist of letters, digits, _ and -, {NAMED}",
        ),
        ("routes: {a: true}", "route a: it must be a mapping of fields, such as url and secret_file"),
        (
            "routes: {a: {level: info}}",
            "route a: it has no address; it must have one of url, url_file, url_variable",
        ),
        (
            "routes: {a: {url: 'http://x', url_file: y}}",
            "route a: it has url and url_file; it must have one of url, url_file, url_variable",
        ),
        (
            "routes: {a: {url_file: y, secret_file: z, secret_variable: S}}",
            "route a: it has secret_file and secret_variable; it may have one of them",
        ),
        (
            "routes: {a: {url: 'https://me:secret@x/y'}}",
            "route a: url is not one; it must be a URL that begins with http:// or https:// and carries no "
            "user name or password; one that is a secret belongs into a file or a variable that url_file or "
            "url_variable names",
        ),
        (
            "routes: {a: {url_variable: OTEL_X}}",
            "route a: url_variable is 'OTEL_X'; it must be the name of an environment variable, which must "
            "not begin with OTEL_, since the bridge does not get such",
        ),
        (
            "routes: {a: {url_variable: X, timeout_s: 0}}",
            "route a: timeout_s is 0; it must be a number from 0.1 to 60",
        ),
    ],
)
def test_each_mistake_is_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        plan(text)


# -- as a setting ----------------------------------------------------------------------------------------

ONE = {"rules": {"slow": {"key": "latency/p95_ms", "above": 2000}}}


def test_a_mapping_json_yaml_and_a_file_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(ONE))
    (tmp_path / "of-a-mapping.yaml").write_text(yaml.safe_dump({"alerts": ONE}))
    (tmp_path / "of-a-path.yaml").write_text("alerts: alerts.yaml")
    monkeypatch.chdir(tmp_path)
    found = {
        resolve({"alerts": ONE}, {}).settings.alerts,
        resolve({"alerts": json.dumps(ONE)}, {}).settings.alerts,
        resolve({}, {"OTEL_WANDB_ALERTS": yaml.safe_dump(ONE)}).settings.alerts,
        resolve({}, {"OTEL_WANDB_ALERTS": "alerts.yaml"}).settings.alerts,
        resolve({}, {"OTEL_WANDB_ALERTS": str(tmp_path / "alerts.yaml")}).settings.alerts,
        resolve({}, {}, tmp_path / "of-a-mapping.yaml").settings.alerts,
        resolve({}, {}, tmp_path / "of-a-path.yaml").settings.alerts,
    }
    (text,) = found
    assert parse_plan(text) == plan(yaml.safe_dump(ONE))
    settings = resolve({"alerts": ONE}, {}).settings
    assert Settings.from_json(settings.to_json()).alerts == text
    assert resolve({}, {}).settings.alerts == resolve({"alerts": {}}, {}).settings.alerts == ""


def test_paths_are_relative_to_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    told = {"routes": {"pager": {"url_file": "url", "secret_file": "~/secret"}}}
    (tmp_path / "etc" / "alerts.yaml").write_text(yaml.safe_dump(told))
    (tmp_path / "otel-wandb.yaml").write_text("alerts: etc/alerts.yaml")
    monkeypatch.setenv("HOME", "/home/me")
    pager = parse_plan(resolve({}, {}, tmp_path / "otel-wandb.yaml").settings.alerts).route("pager")
    assert pager == Route("pager", url_file=str(tmp_path / "etc" / "url"), secret_file="/home/me/secret")
    monkeypatch.chdir("/")
    assert parse_plan(resolve({"alerts": told}, {}).settings.alerts).route("pager") == Route(
        "pager", url_file="/url", secret_file="/home/me/secret"
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            '{"rules": {"a": {"key": "a/b", "above": "x"}}}',
            "rule a: above is 'x'; it must be a number",
        ),
        (
            "missing.yaml",
            "the file {here}/missing.yaml cannot be read: No such file or directory",
        ),
        (
            "wrong.yaml",
            "in {here}/wrong.yaml: there is no field 'rule'; did you mean 'rules'?",
        ),
        (
            "list.yaml",
            "in {here}/list.yaml: it must be a mapping of rules, routes and late_s, or the path of a file "
            "with one",
        ),
        ("broken.yaml", "in {here}/broken.yaml: it is neither JSON nor YAML: while parsing a flow node"),
        (
            7,
            "it must be a mapping of rules, routes and late_s, or the path of a file with one",
        ),
    ],
)
def test_a_mistake_tells_where_it_stands(
    value: object, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.yaml").write_text("rule: {}")
    (tmp_path / "list.yaml").write_text("[1]")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("{rules: [")
    sentence = f"alerts cannot be read (from argument): {problem}".format(here=tmp_path)
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        resolve({"alerts": value}, {})


def test_a_front_without_alerts_loads_nothing_for_them() -> None:
    code = "import sys; from otel_wandb.config import resolve; resolve({'data_dir': '/x'}, {})"
    code += "; print([name for name in sys.modules if 'alert' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"
