"""Answers to alarms: what somebody said is done once, in the next row, whatever is killed in between."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_wandb.bridge import open_bridge
from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.drain import Drain
from otel_wandb.errors import ConfigError
from otel_wandb.journal import JournalWriter, Kind, Segment
from otel_wandb.status import read_status
from otel_wandb.store import Store
from otel_wandb.view_alarms import find_alarms, give_answer, list_alarms
from otel_wandb.view_answers import AnswerBox
from otel_wandb.view_settings import read_views
from otel_wandb.views import Drift, View
from otel_wandb.views.answer import Action, Answer
from tests.spends import Works, duration_metrics
from tests.test_views import told_by

DRIFT = Drift(
    "http.server.request.duration",
    name="chat",
    window_s=120,
    window_requests=200,
    learn_requests=400,
    windows_to_false_alarm=100,
)
ALARM_AT = 16
"""The minute after which the alarm is there."""


@dataclass
class Answered(Works):
    """The works over a directory, in which answers may lie."""

    path: Path = Path()
    waits: bool = False
    """Whether what is written is not read yet."""

    def __post_init__(self) -> None:
        self.frames = []
        self.data_dir = DataDir(self.path)
        self.data_dir.create()
        self.data_dir.write_config(self.settings.to_json(), self.settings.digest)
        self.box = AnswerBox(self.data_dir.answers)
        self.store = Store.open(self.data_dir.store)
        self.kill()

    def segments(self) -> list[Segment]:
        return [] if self.waits else super().segments()

    def finish(self) -> list[dict[str, Any]]:
        self.waits = False
        return super().finish()

    def kill(self) -> None:
        self.drain = Drain(
            self,
            self.store,
            self.settings,
            settings_of=lambda _: self.settings,
            waits_for_delivery=lambda: False,
            replay=self.replay,
            answers=AnswerBox(self.data_dir.answers),
        )

    def minute(self, minute: int, *, slow: bool) -> None:
        """A minute of 100 requests, of which 20 are slow, or 60."""
        share = 60 if slow else 20
        values = [5.0] * share + [0.5] * (100 - share)
        self.write(duration_metrics(60 * (minute + 1), *values))


def works_of(path: Path, *views: View) -> Answered:
    return Answered(Settings(views=read_views(list(views or (DRIFT,)))), path=path)


def play(works: Answered, action: Action | None, *, kill_after: int = -1) -> list[dict[str, Any]]:
    """Ten minutes as they are, twenty with a change; the answer comes after the seventeenth."""
    for minute in range(30):
        works.minute(minute, slow=minute >= 10)
        if minute == ALARM_AT and action is not None:
            give_answer(works.data_dir, find_alarms(works.data_dir, "chat", ()), action)
        if minute == kill_after:
            works.kill()
    return works.finish()


def states(works: Answered) -> list[tuple[str, str, int]]:
    return [(alert.name, alert.state, alert.step) for alert in told_by(works)]


class TestAnswers:
    def test_a_kept_reference_alarms_again(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        rows = play(works, "keep")
        fired, answered, again = states(works)
        assert (fired[1], answered[1], again[1]) == ("firing", "recovered", "firing")
        assert ALARM_AT <= answered[2] <= ALARM_AT + 2 < again[2]
        flags = {row["step"]: row["drift/chat_drift_detected"] for row in rows if row["step"] > 6}
        assert (flags[answered[2] - 1], flags[answered[2]], flags[again[2]]) == (1, 0, 1)
        (text,) = [alert.text for alert in told_by(works) if alert.state == "recovered"]
        assert text.startswith(
            "chat: somebody decided that the reference holds; evidence begins anew. It fired"
        )

    def test_an_accepted_change_is_the_reference(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        play(works, "accept")
        assert [state for _, state, _ in states(works)] == ["firing", "recovered"]
        assert list_alarms(works.data_dir) == []
        (text,) = [alert.text for alert in told_by(works) if alert.state == "recovered"]
        assert text.startswith("chat: somebody accepted the change.")

    def test_without_an_answer_it_lasts(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        play(works, None)
        (alarm,) = list_alarms(works.data_dir)
        assert (alarm.service, alarm.view, alarm.group) == ("rag", "chat", ())
        assert alarm.words.startswith("chat, since 2026-11-25 00:1")

    @pytest.mark.parametrize("kill_after", [ALARM_AT - 1, ALARM_AT, ALARM_AT + 1, ALARM_AT + 2, 25])
    def test_a_kill_changes_nothing(self, tmp_path: Path, kill_after: int) -> None:
        straight, killed = works_of(tmp_path / "one"), works_of(tmp_path / "two")
        assert play(straight, "keep") == play(killed, "keep", kill_after=kill_after)
        assert told_by(killed) == told_by(straight)

    def test_what_was_done_is_not_done_again_though_its_file_stays(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        play(works, "keep")
        assert not list(works.data_dir.answers.iterdir())
        before = states(works)
        (alarm,) = list_alarms(works.data_dir)
        old = msgspec.structs.replace(alarm.answer, after_ns=0)
        done = f"views/answered/{old.id}"
        with works.store.transaction() as tx:  # as it is where a kill came before the file was removed
            tx.put_state(done, b"1")
        works.box.write(old)
        works.kill()
        works.minute(30, slow=True)
        works.minute(31, slow=True)
        works.finish()
        assert states(works) == before
        assert not list(works.data_dir.answers.iterdir())
        works.minute(32, slow=True)
        works.finish()
        assert done not in works.store.reader.states()

    def test_how_much_is_read_at_once_changes_nothing(self, tmp_path: Path) -> None:
        straight, at_once = works_of(tmp_path / "one"), works_of(tmp_path / "two")
        rows = play(straight, "accept")
        for minute in range(30):
            if minute == ALARM_AT + 1:
                give_answer(at_once.data_dir, find_alarms(at_once.data_dir, "chat", ()), "accept")
                at_once.waits = True
            at_once.minute(minute, slow=minute >= 10)
        assert at_once.finish() == rows
        assert told_by(at_once) == told_by(straight)

    def test_it_waits_for_its_time(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        for minute in range(24):
            works.minute(minute, slow=minute >= 10)
            if minute == ALARM_AT:
                (alarm,) = list_alarms(works.data_dir)
                later_ns = alarm.answer.after_ns + 4 * 60 * 1_000_000_000
                works.box.write(msgspec.structs.replace(alarm.answer, after_ns=later_ns))
        works.finish()
        fired, answered, *_ = states(works)
        assert answered[2] == later_ns // 60_000_000_000 % 1440
        assert answered[2] > fired[2] + 3

    def test_the_same_answer_twice_is_one(self, tmp_path: Path) -> None:
        box = AnswerBox(tmp_path / "answers")
        answer = Answer("0" * 16, "views/x", ("en",), "keep", 60)
        box.write(answer)
        box.write(answer)
        assert box.read() == [answer]
        (tmp_path / "answers" / "other.json").write_bytes(b"no answer")
        assert box.read() == [answer]
        box.remove([answer])
        assert box.read() == []

    def test_one_to_a_view_that_is_gone_is_dropped(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        play(works, None)
        (alarm,) = list_alarms(works.data_dir)
        works.box.write(msgspec.structs.replace(alarm.answer, state="views/gone"))
        works.minute(30, slow=True)
        works.minute(31, slow=True)
        works.finish()
        assert works.box.read() == []
        assert [state for _, state, _ in states(works)] == ["firing"]

    def test_what_cannot_be_answered_is_said(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        with pytest.raises(ConfigError, match=r"^chat has no alarm that could be answered; no view has one$"):
            find_alarms(works.data_dir, "chat", ())
        play(works, None)
        with pytest.raises(ConfigError, match=r"^other \(en\) has no alarm .*; alarms are: chat, since 2026"):
            find_alarms(works.data_dir, "other", ("en",))

    def test_status_tells_it(self, tmp_path: Path) -> None:
        works = works_of(tmp_path)
        play(works, "accept")
        status = read_status(works.data_dir)
        assert "Recovered: chat has drifted" in status.render()
        assert (status.answers, "answers  " in status.render()) == (0, False)
        works.box.write(Answer("0" * 16, "views/x", (), "keep", 60))
        status = read_status(works.data_dir)
        assert "answers      1 to alarms of views, which wait for the next row" in status.render()
        assert json.loads(status.to_json())["answers_waiting"] == 1


def test_the_bridge_of_the_directory_reads_them(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.create()
    settings = Settings(views=read_views([DRIFT]), mode="offline")
    directory.write_config(settings.to_json(), settings.digest)
    bridge = open_bridge(directory, settings, deliver=False)
    journal = JournalWriter(directory.journal, writer_id="a0")

    def write(minutes: range, *, slow: bool) -> None:
        share = 60 if slow else 20
        for minute in minutes:
            values = [5.0] * share + [0.5] * (100 - share)
            payload = json.dumps(duration_metrics(60 * (minute + 1), *values)).encode()
            journal.append(payload, kind=Kind.OTLP_METRICS_JSON, items=1, config=settings.digest)
        while bridge.step():
            pass

    write(range(10), slow=False)
    write(range(10, 20), slow=True)
    give_answer(directory, find_alarms(directory, "chat", ()), "keep")
    write(range(20, 21), slow=True)
    assert list_alarms(directory) == []
    assert not list(directory.answers.iterdir())
    journal.close()
    bridge.close()
