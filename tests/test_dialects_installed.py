"""Dialects of other packages: read by the bridge like our own, and harmless where they are broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from otel_wandb.cli import main
from otel_wandb.conventions import BUILT_IN
from otel_wandb.datadir import DataDir
from otel_wandb.dialects import GROUP, load_dialects
from otel_wandb.status import read_status
from tests.spends import at, attributes

DOCS = (Path(__file__).parents[1] / "docs" / "conventions.md").read_text()
ACME = DOCS.split("```python\n")[1].split("```")[0]
MORE = """
NO_DIALECT = {"name": "acme-2"}
TAKEN = Dialect(name="openinference", rank=1, rows=())
"""
LEFT_OUT = ("broken", "dict", "missing", "taken")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of someone else with its entry points, of which one is sound."""
    site = tmp_path / "site"
    meta = site / "acme_dialect-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "acme_dialect.py").write_text(ACME + MORE)
    (site / "acme_broken.py").write_text("raise SystemExit('not for this platform')\n")
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dialect\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(
        f"[{GROUP}]\n"
        "acme = acme_dialect:DIALECT\n"
        "broken = acme_broken:DIALECT\n"
        "dict = acme_dialect:NO_DIALECT\n"
        "missing = acme_dialect:NOWHERE\n"
        "taken = acme_dialect:TAKEN\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in ("acme_dialect", "acme_broken"):
        sys.modules.pop(name, None)


def make_request(**told: object) -> dict[str, Any]:
    told = {f"acme.{name.replace('__', '.')}": value for name, value in told.items()}
    span = {
        "traceId": "1" * 32,
        "spanId": "2" * 16,
        "name": "ask",
        "startTimeUnixNano": at(1),
        "endTimeUnixNano": at(2),
        "attributes": attributes(told),
        "events": [
            {"name": "acme.answer", "timeUnixNano": at(2), "attributes": attributes({"text": "Paris."})}
        ],
    }
    resource = {"attributes": attributes({"service.name": "gateway"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


def replay(tmp_path: Path, request: dict[str, Any]) -> tuple[dict[str, Any], DataDir]:
    """The call that becomes of the only span, and where it is."""
    file, calls, directory = tmp_path / "traces.jsonl", tmp_path / "calls.jsonl", tmp_path / "data"
    file.write_text(json.dumps(request) + "\n")
    arguments = [file, "--no-deliver", "--calls", calls, "--data-dir", directory]
    result = CliRunner().invoke(main, ["replay", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    [call] = map(json.loads, calls.read_text().splitlines())
    return call, DataDir(directory)


@pytest.mark.usefixtures("installed")
def test_a_span_in_the_words_of_another_package(tmp_path: Path) -> None:
    told = {"op": "ask", "model": "acme/acme-1", "prompt": "Capital?", "tokens__in": 25, "tokens__out": 12}
    call, data_dir = replay(tmp_path, make_request(**told, tag__team="a", other="x"))
    assert call["inputs"] == {"model": "acme-1", "messages": [{"role": "user", "content": "Capital?"}]}
    assert call["output"] == {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}}],
    }
    assert call["summary"]["usage"] == {
        "acme-1": {"input_tokens": 25, "output_tokens": 12, "total_tokens": 37, "requests": 1}
    }
    told_of_it = {
        name: call["attributes"][name] for name in ("kind", "dialect", "provider", "metadata", "otel")
    }
    assert told_of_it == {
        "kind": "chat",
        "dialect": "acme",
        "provider": "acme",
        "metadata": {"team": "a"},
        "otel": {"acme.other": "x"},
    }
    assert "mapping_warnings" not in call["attributes"]
    # Those that could not be loaded cost nothing, and are told in the status.
    assert read_status(data_dir).ledger.mapping_warnings == {
        name: {"dialect_not_loaded": 1} for name in LEFT_OUT
    }


@pytest.mark.usefixtures("installed")
def test_mistakes_of_another_package_are_warnings(tmp_path: Path) -> None:
    call, data_dir = replay(tmp_path, make_request(op="dance", prompt="[{", tokens__in=-1))
    assert call["attributes"]["mapping_warnings"] == [
        "unknown_word:acme.op",
        "undecodable:acme.prompt",
        "undecodable:acme.tokens.in",
        "unsettled",
    ]
    assert call["attributes"]["otel"] == {"acme.op": "dance", "acme.prompt": "[{", "acme.tokens.in": -1}
    status = read_status(data_dir)
    assert status.ledger.mapping_warnings["acme"] == {"undecodable": 2, "unknown_word": 1, "unsettled": 1}
    assert json.loads(status.to_json())["mapping_warnings"] == status.ledger.mapping_warnings
    assert [line for line in status.render().splitlines() if line.startswith("mapping")] == [
        "mapping warnings: 2 undecodable (acme)",
        "mapping warnings: 1 unknown_word (acme)",
        "mapping warnings: 1 unsettled (acme)",
        *(f"mapping warnings: 1 dialect_not_loaded ({name})" for name in LEFT_OUT),
    ]


def test_without_other_packages_there_is_only_our_own_reader() -> None:
    assert load_dialects([]) == (BUILT_IN, ())


@pytest.mark.usefixtures("installed")
def test_what_is_left_out_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    loaded = load_dialects()
    assert loaded.broken == LEFT_OUT
    assert {dialect.name for dialect in loaded.reader.dialects} - {d.name for d in BUILT_IN.dialects} == {
        "acme"
    }
    assert [record.getMessage() for record in caplog.records] == [
        "The dialect broken (acme_broken:DIALECT) is left out: not for this platform",
        "The dialect dict (acme_dialect:NO_DIALECT) is left out: it is a dict, not a Dialect",
        "The dialect missing (acme_dialect:NOWHERE) is left out: "
        "module 'acme_dialect' has no attribute 'NOWHERE'",
        "The dialect taken (acme_dialect:TAKEN) is left out: there is a dialect 'openinference' already",
    ]
