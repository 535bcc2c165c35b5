"""The doctor names what is wrong, and sends a span the whole way to a real Weave server and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_wandb.datadir import DataDir
from otel_wandb.doctor import Finding, examine
from otel_wandb.probe import KEY
from tests.peers.fixtures_wandb import OneKeyPeer
from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer
from tests.services.launched import end_bridge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # real servers with real workers


@pytest.fixture(autouse=True)
def no_bridge_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_bridge(DataDir(tmp_path / "data"))


@pytest.fixture
def weave(monkeypatch: pytest.MonkeyPatch) -> Iterator[OneKeyPeer]:
    """Weave, with the key that W&B takes."""
    with OneKeyPeer() as peer:
        for name, value in peer.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
        yield peer


@pytest.fixture
def wandb(weave: OneKeyPeer, wandb_peer: WandbPeer, monkeypatch: pytest.MonkeyPatch) -> WandbPeer:
    """W&B itself, beside its Weave."""
    monkeypatch.setenv("WANDB_BASE_URL", wandb_peer.url)
    return wandb_peer


def bad(findings: list[Finding]) -> dict[str, str]:
    """The bad findings by subject; each has something to do, or says it itself."""
    return {
        finding.subject: f"{finding.says} -> {finding.do}" for finding in findings if finding.level == "bad"
    }


def said(findings: list[Finding], subject: str) -> str:
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding.says


def test_online_a_probe_is_read_back_from_weave_and_from_a_run(weave: OneKeyPeer, wandb: WandbPeer) -> None:
    findings = examine(timeout_s=60)
    assert bad(findings) == {}
    (call,) = weave.accepted()
    assert call.project == "team/rag"
    assert said(findings, "probe span").startswith(f"{call.id} of trace ")
    assert "was read back from team/rag" in said(findings, "probe span")
    assert said(findings, "key") == "found in WANDB_API_KEY"
    (run_id,) = wandb.runs()
    (row,) = wandb.history(run_id)
    assert row[KEY] == pytest.approx(row["_timestamp"], abs=600)
    assert said(findings, "probe metric").startswith(
        f"step {row['_step']} of run {run_id} is in the history of rag"
    )
    shown = "\n".join(finding.render() for finding in findings)
    assert weave.api_key not in shown
    assert "project = rag (from OTEL_WANDB_PROJECT)" in shown


def test_the_entity_is_the_one_of_the_key_where_none_is_named(online: WeavePeer) -> None:
    online.configure_projects()
    findings = examine({"project": "rag"}, timeout_s=20)
    assert bad(findings).keys() == {"probe metric"}  # this server has no runs
    assert (
        said(findings, "project")
        == f"{online.default_entity}/rag does not exist yet; the first span makes it"
    )
    assert f"was read back from {online.default_entity}/rag" in said(findings, "probe span")


def test_offline_it_ends_in_the_local_store(tmp_path: Path) -> None:
    findings = examine({"mode": "offline"}, timeout_s=60)
    assert bad(findings) == {}
    for probe in ("probe span", "probe metric"):
        assert said(findings, probe).endswith("went the whole way into the local store")


def test_a_second_probe_in_the_same_interval_says_when_to_try_again() -> None:
    given = {"mode": "offline", "interval_s": 1200.0}
    assert bad(examine(given, timeout_s=60)) == {}
    assert "try again in 1215 s" in bad(examine(given, timeout_s=3))["probe metric"]


def test_a_missing_key_is_bad_only_where_one_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert bad(examine(probe=False)) == {}
    assert "no API key for http://127.0.0.1:9" in bad(examine({"mode": "online"}, probe=False))["key"]


def test_a_wrong_key_is_named_and_never_shown(online: WeavePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-wrong-key")
    findings = examine(timeout_s=60)
    assert "refuses the key (401) -> look up the key" in bad(findings)["W&B"]
    for probe in ("probe span", "probe metric"):
        assert "is stored and waits" in said(findings, probe)
    assert "a-wrong-key" not in "\n".join(finding.render() for finding in findings)


def test_a_key_file_that_is_not_there(online: WeavePeer, tmp_path: Path) -> None:
    findings = examine({"api_key_file": str(tmp_path / "nothing")}, probe=False)
    assert "cannot be read from api_key_file" in bad(findings)["key"]


def test_a_server_that_is_down(online: WeavePeer) -> None:
    online.stop()
    findings = examine(timeout_s=60)
    assert f"{online.url}/graphql cannot be reached" in bad(findings)["W&B"]
    assert "nothing is lost" in bad(findings)["W&B"]
    assert "is stored and waits" in said(findings, "probe span")


def test_an_address_that_is_not_weaves(online: WeavePeer) -> None:
    findings = examine({"trace_url": f"{online.url}/nowhere", "project": "team/rag"}, probe=False)
    assert set(bad(findings)) <= {"Weave"}
    assert bad(findings) or "does not exist yet" in said(findings, "project")


def test_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTEL_WANDB_PROJET", "rag")
    assert "did you mean 'OTEL_WANDB_PROJECT'?" in bad(examine())["configuration"]


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    findings = examine({"data_dir": str(occupied), "mode": "offline"})
    assert "telemetry is kept in memory only -> set OTEL_WANDB_DIR" in bad(findings)["disk"]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("OTEL_SDK_DISABLED", "true", "turns OpenTelemetry off"),
        ("OTEL_TRACES_EXPORTER", "otlp", "sends the spans elsewhere"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off", "drops every span"),
    ],
)
def test_what_the_environment_forbids(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert expected in said(examine({"mode": "offline"}, probe=False), "environment")


def test_looking_without_a_probe_sends_nothing(online: WeavePeer) -> None:
    assert bad(examine(probe=False)) == {}
    assert online.accepted() == []
