"""`otel-wandb reference`: references of what there is, in words, and tested before they make alarms."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from inline_snapshot import snapshot

from otel_wandb.cli import main
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.replay import replay_files
from otel_wandb.view_alarms import list_alarms
from otel_wandb.view_settings import load_reference, parse_views, read_views
from otel_wandb.views import Drift, Reference
from otel_wandb.views.strata import Strata
from tests.deadlines import wait_for
from tests.peers.wandb import WandbPeer
from tests.rowhouse import PROJECT, RowHouse
from tests.spends import duration_metrics
from tests.test_table_delivery import requests
from tests.test_view_answers import play, works_of

DURATION = "http.server.request.duration"


def call(*arguments: object, code: int = 0, environ: dict[str, str] | None = None) -> Result:
    done = CliRunner().invoke(main, ["reference", *map(str, arguments)], env=environ)
    assert done.exit_code == code, done.output
    return done


def write_lines(path: Path, documents: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def loaded(hours: int, *, seed: int = 1, spread: float = 0.0, noon: float = 1.0) -> list[dict[str, Any]]:
    """Forty requests every ten minutes, with a load of each, or a slow afternoon."""
    rng = np.random.default_rng(seed)
    documents = []
    for i in range(6 * hours):
        slow = noon if i // 6 % 24 >= 12 else 1.0
        values = rng.lognormal(0, 0.8, 40) * np.exp(rng.normal(0, spread)) * slow
        documents.append(duration_metrics(600 * i + 60, *values.tolist()))
    return documents


class TestSamples:
    @pytest.mark.parametrize(
        ("name", "content", "options"),
        [
            ("a.txt", b"1\n2\n\n2\n9.5\n", ()),
            ("a.csv", b"kind,length\nx,1\ny,2\nz,2\nx,9.5\nx,\n", ("--column", "length")),
            ("a.csv", b"\xef\xbb\xbflength\n1\n2\n2\n9.5\n", ()),
            ("a.tsv", b"kind\tlength\nx\t1\ny\t2\nz\t2\nx\t9.5\n", ("--column", "length")),
            ("a.json", b"[1, 2, 2, 9.5, null]", ()),
            ("a.json", b'{"length": [1, 2, 2, 9.5], "kind": []}', ("--column", "length")),
            ("a.json", b'[{"l": 1}, {"l": 2}, {"l": 2}, {"l": 9.5}, {}]', ()),
            (
                "a.json",
                b'{"columns": ["l", "k"], "data": [[1, 0], [2, 0], [2, 0], [9.5, 0]]}',
                ("--column", "l"),
            ),
            ("a.jsonl", b'{"l": 1}\n{"l": 2}\n{"l": 2}\n{"l": 9.5}\n', ()),
        ],
    )
    def test_all_kinds_are_the_same(
        self, tmp_path: Path, name: str, content: bytes, options: tuple[str, ...]
    ) -> None:
        (tmp_path / name).write_bytes(content)
        call("create", tmp_path / name, *options, "-o", tmp_path / "r.json")
        made = load_reference(tmp_path / "r.json")
        assert made == Reference.from_samples([1, 2, 2, 9.5], source=name)

    def test_an_array(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        np.save(file, np.array([[1.0, 2.0], [2.0, 9.5]]))
        (tmp_path / "a.npy").write_bytes(file.getvalue())
        call("create", tmp_path / "a.npy", "-o", tmp_path / "r.json")
        assert load_reference(tmp_path / "r.json").size == 4

    def test_names(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("label\nyes\nno\nyes\n")
        done = call("create", tmp_path / "a.txt", "--categories", "-o", tmp_path / "r.json")
        assert load_reference(tmp_path / "r.json") == Reference(
            {"": (1, 2)}, names=("no", "yes"), source="a.txt"
        )
        assert done.output.splitlines()[:3] == ["3 requests, a.txt", "yes: 66.7 %", "no: 33.3 %"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            (
                "a.xml",
                b"",
                "a.xml: expected a name that ends in npy, csv, tsv, txt, json, jsonl, not in 'xml'",
            ),
            ("a.csv", b"a,b\nx,1\n", "a.csv: choose a column of a, b"),
            ("a.csv", b"1,2\n", "a.csv: it has 2 columns without names"),
            ("a.json", b"[1, ", "a.json: Input data was truncated"),
            ("a.json", b'"text"', "a.json: expected a list of values, or an object of lists"),
            ("a.txt", b"1\nx\n", "expected numbers, found 'x'; --categories takes names"),
            ("a.txt", b"", "a.txt: a reference needs samples; there are none that are finite"),
            (
                "a.json",
                b'{"counts": {"": [1]}, "edges": [1.0]}',
                "a.json: each stratum of a reference needs 2",
            ),
            ("a.npy", b"no array", "a.npy: "),
        ],
    )
    def test_what_cannot_be(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(content)
        done = call("create", tmp_path / name, "-o", tmp_path / "r.json", code=1)
        assert message in done.output
        assert not (tmp_path / "r.json").exists()

    def test_one_source(self, tmp_path: Path) -> None:
        assert "name one source" in call("create", "-o", "r.json", code=2).output
        both = call("create", "a.csv", "--artifact", "a/b/c", "-o", "r.json", code=2)
        assert "name one source" in both.output


class TestTelemetry:
    def test_files_give_what_a_view_would_see(self, tmp_path: Path) -> None:
        lines = write_lines(tmp_path / "m.jsonl", loaded(2))
        options = ("--instrument", DURATION, "-o", tmp_path / "r.json")
        call("create", lines, *options)
        made = load_reference(tmp_path / "r.json")
        assert (made.size, set(made.edges) >= {0.1, 1.0, 10.0}) == (480, True)
        assert made.source == f"{DURATION} in m.jsonl"
        call("create", lines, *options, "--since", "2026-11-25T01:00", "--unit", "interval")
        assert (
            len(load_reference(tmp_path / "r.json").counts),
            load_reference(tmp_path / "r.json").size,
        ) == (6, 240)
        nothing = call("create", lines, "--instrument", "other", "-o", tmp_path / "r.json", code=1)
        assert "no file has values of other in histograms" in nothing.output

    def test_strata_and_names(self, tmp_path: Path) -> None:
        documents = [
            duration_metrics(60 + 3600 * i, 1, told={"http.route": route})
            for i in range(3)
            for route in ("/a", "/b", "/a")[: i + 1]
        ]
        lines = write_lines(tmp_path / "m.jsonl", documents)
        call("create", lines, "--instrument", DURATION, "--strata", "hour_of_day", "-o", tmp_path / "r.json")
        assert set(load_reference(tmp_path / "r.json").counts) == {"0", "1", "2"}
        options = ("--instrument", "http.server.*", "--category", "http.route")
        call("create", lines, *options, "-o", tmp_path / "r.json")
        made = load_reference(tmp_path / "r.json")
        assert (made.names, sum(made.counts[""])) == (("/a", "/b"), 5)

    def test_a_time_that_is_none(self, tmp_path: Path) -> None:
        options = ("--instrument", "x", "--since", "noon", "-o", "r.json")
        done = call("create", tmp_path / "m.jsonl", *options, code=1)
        assert "'noon' is no time such as 2026-11-30T14:00" in done.output

    def test_stored_rows(self, tmp_path: Path) -> None:
        directory = DataDir(tmp_path / "data")
        directory.create()
        lines = write_lines(tmp_path / "m.jsonl", [duration_metrics(60 * (i + 1), 0.5, 5) for i in range(30)])
        replay_files([lines], Settings(), directory, deliver=False)
        options = ("--data-dir", tmp_path / "data", "-o", tmp_path / "r.json")
        call("create", "--stored", "latency/histogram", *options)
        made = load_reference(tmp_path / "r.json")
        assert made.size == 6  # of every tenth row
        assert {0.1, 1.0} <= {round(edge, 9) for edge in made.edges}
        unknown = call("create", "--stored", "latency/other", *options, code=1)
        assert "no stored row of that time has a histogram under 'latency/other'" in unknown.output
        assert "latency/histogram" in unknown.output


class TestStability:
    OPTIONS = ("--instrument", DURATION, "--window", "3600", "--requests", "200")

    def test_a_stable_one(self, tmp_path: Path) -> None:
        lines = write_lines(tmp_path / "m.jsonl", loaded(24))
        assert call("test", lines, *self.OPTIONS).output == snapshot(
            "Stable: none of 10 windows is unlike those before it.\n"
        )

    def test_bursts_and_what_helps(self, tmp_path: Path) -> None:
        lines = write_lines(tmp_path / "m.jsonl", loaded(72, spread=1.0))
        done = call("test", lines, *self.OPTIONS, code=1)
        assert done.output.startswith("Not stable by itself: an alarm at 2026-11-2")
        assert "With `unit: interval` there is no alarm." in done.output

    def test_samples_in_their_order(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        (tmp_path / "a.txt").write_text("\n".join(map(str, rng.lognormal(0, 0.8, 10_000))))
        assert call("test", tmp_path / "a.txt").output.startswith("Stable: none of 10 windows")
        (tmp_path / "a.txt").write_text("\n".join(map(str, np.sort(rng.lognormal(0, 0.8, 10_000)))))
        done = call("test", tmp_path / "a.txt", code=1)
        assert done.output.startswith("Not stable by itself: an alarm in window 1")
        assert "hour_of" not in done.output

    def test_too_little(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("1\n2\n")
        assert "Too short to be tested" in call("test", tmp_path / "a.txt", code=1).output


class TestInViews:
    @pytest.mark.parametrize("strata", ["none", "hour_of_day"])
    def test_a_view_names_the_file(self, tmp_path: Path, strata: Strata) -> None:
        (tmp_path / "a.txt").write_text("1\n2\n2\n")
        call("create", tmp_path / "a.txt", "-o", tmp_path / "r.json")
        told = "- view: drift\n  instrument: rag.query.length\n  reference: r.json\n"
        (view,) = parse_views(read_views(told, tmp_path))
        assert isinstance(view, Drift)
        assert view.reference == Reference.from_samples([1, 2, 2], source="a.txt")
        (tmp_path / "views.yaml").write_text(told)
        assert read_views("views.yaml", tmp_path) == read_views(told, tmp_path)
        if strata != "none":
            with pytest.raises(ValueError, match="has to have counts of each stratum"):
                read_views(
                    [{"view": "drift", "instrument": "a", "strata": strata, "reference": "r.json"}], tmp_path
                )

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=r"view 1: the reference /\S+/r.json cannot be read: No such file"
        ):
            read_views([{"view": "drift", "instrument": "a", "reference": "r.json"}], tmp_path)
        (tmp_path / "r.json").write_text("[]")
        assert "is no reference" in call("show", tmp_path / "r.json", code=1).output


class TestAnswers:
    def test_accept_and_keep(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        play(works, None)
        done = call("keep", "chat", "--data-dir", tmp_path)
        assert done.output.startswith("chat, since 2026-11-25 00:1")
        assert "Its reference is kept with the next row" in done.output
        for minute in range(30, 33):
            works.minute(minute, slow=False)
        works.finish()
        assert list_alarms(works.data_dir) == []
        refused = call("accept", "chat", "--data-dir", tmp_path, code=1)
        assert "chat has no alarm that could be answered; no view has one" in refused.output


@pytest.mark.slow
@pytest.mark.timeout(300)
class TestArtifacts:
    def test_a_reference_is_an_artifact_that_its_runs_use(self, house: RowHouse, tmp_path: Path) -> None:
        given = Reference.from_samples([1, 2, 2, 9.5], source="training")
        house.configure(views=read_views([Drift("rag.query.length", reference=given), Drift("other")]))
        for run in ("run-1", "run-2"):
            house.queue([0, 1], run=run)
        house.deliver()

        def find() -> dict[str, Any] | None:
            made = [one for one in house.peer.artifacts() if one["type"] == "drift-reference"]
            return made[0] if len(made) == 1 and len(made[0]["used_by"]) == 2 else None

        made = wait_for(find, 60)
        assert (made["name"], made["state"]) == ("query_length_reference", "COMMITTED")
        assert made["used_by"] == ["run-1", "run-2"]
        assert json.loads(made["metadata"])["source"] == "training"
        environ = {**house.peer.environment, "HOME": str(tmp_path)}
        address = f"{PROJECT}/query_length_reference"
        call("create", "--artifact", address, "-o", tmp_path / "r.json", environ=environ)
        assert load_reference(tmp_path / "r.json") == given
        house.assert_each_once([0, 1])

    @pytest.fixture
    def house(self, wandb_peer: WandbPeer, tmp_path: Path) -> Iterator[RowHouse]:
        house = RowHouse(wandb_peer, tmp_path)
        yield house
        house.close()

    def test_a_table_of_a_run(self, house: RowHouse, tmp_path: Path) -> None:
        house.queue([0], tables={"tables/requests": requests(1, 2, 2)})
        house.deliver()
        (name,) = {found["name"] for found in house.peer.artifacts() if "requests" in found["name"]}
        environ = {**house.peer.environment, "HOME": str(tmp_path)}
        options = (
            "--artifact",
            f"{PROJECT}/{name}:v0",
            "--column",
            "total_tokens",
            "-o",
            tmp_path / "r.json",
        )
        unknown = call("create", *options, code=1, environ=environ)
        assert "there is no column 'total_tokens'; it has time, operation" in unknown.output
        call("create", *options, "--column", "tokens_in", environ=environ)
        made = load_reference(tmp_path / "r.json")
        assert made == Reference.from_samples([101, 102, 102], source=f"{PROJECT}/{name}:v0")
        gone = call("create", "--artifact", f"{PROJECT}/{name}:v7", "-o", "r.json", code=1, environ=environ)
        assert f"W&B has no artifact {PROJECT}/{name}:v7" in gone.output
        bad = call("create", "--artifact", "name", "-o", "r.json", code=1, environ=environ)
        assert "'name' is no artifact; name it as entity/project/name:alias" in bad.output
