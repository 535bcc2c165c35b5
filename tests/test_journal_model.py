"""The journal against a model: a list of what was acknowledged, with the disk failing at any call.

Two writers append, fail, die amid any call and lose power; one reader reads, forgets its positions and starts
again. Of each writer the reader must find what was acknowledged, all of it, in order and once; and nothing
else. Only an append that was under way when its writer died may be there or not, and one that a disk could
neither sync nor cut off.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from otel_wandb.errors import JournalError
from otel_wandb.journal import Damage, Frame, FsyncMode, JournalReader, JournalWriter, Kind
from otel_wandb.journal.upkeep import Disk

CALLS = ("make", "write", "truncate", "sync", "sync_directory")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fault:
    """What happens to the next call of that name: it does a part of its work, then goes on, fails or dies."""

    call: str
    part: float = 0.0
    outcome: str = "fails"


class UnreliableDisk(Disk):
    """Does what it is told to once, and knows what would be left after a power cut."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.safe_bytes: dict[int, int] = {}
        self.unsure: set[int] = set()
        self.met: set[str] = set()

    def make(self, path: Path) -> int:
        fault = self._take("make")
        if fault and fault.outcome != "short":
            if fault.part > 0.5:
                path.with_suffix(".new").touch()
            self._end(fault)
        fd = super().make(path)
        number = os.fstat(fd).st_ino  # it may have been another file's
        self.safe_bytes.pop(number, None)
        self.unsure.discard(number)
        return fd

    def write(self, fd: int, parts: list[bytes]) -> int:
        fault = self._take("write")
        if fault is None:
            return super().write(fd, parts)
        data = b"".join(parts)
        # A call that fails has written nothing; a killed one may have written any part, or all.
        size = 0 if fault.outcome == "fails" else round(len(data) * fault.part)
        written = super().write(fd, [data[:size]]) if size else 0
        if fault.outcome == "short" and written:
            return written
        return self._end(fault)

    def truncate(self, fd: int, size: int) -> None:
        if fault := self._take("truncate"):
            self._end(fault)
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        status = os.fstat(fd)
        if fault := self._take("sync"):
            self.unsure.add(status.st_ino)
            self._end(fault)
        self.safe_bytes[status.st_ino] = status.st_size

    def sync_directory(self, directory: Path) -> None:
        if fault := self._take("sync_directory"):
            self._end(fault)

    def _take(self, call: str) -> Fault | None:
        for fault in self.faults:
            if fault.call == call:
                self.faults.remove(fault)
                self.met.add(call)
                return fault
        return None

    def _end(self, fault: Fault) -> int:
        if fault.outcome == "dies":
            raise Killed
        code = errno.ENOSPC if fault.part < 0.5 else errno.EIO
        raise OSError(code, os.strerror(code))


class StepwiseWriter(JournalWriter):
    """A writer without a thread: the test does the upkeep, when it likes."""

    def _rouse(self) -> None:
        pass

    def die(self) -> None:
        """Close the files and do nothing else, as the kernel does for a process that ends."""
        self._let_go()


@dataclass
class Life:
    """One writer process, and what it may have left behind."""

    writer: StepwiseWriter
    disk: UnreliableDisk
    acknowledged: list[tuple[bytes, str, int]] = field(default_factory=list)
    doubtful: set[bytes] = field(default_factory=set)


@st.composite
def failures(draw: st.DrawFn) -> list[Fault]:
    """No fault mostly; else a write that is cut short, any call that fails or is the last, or both."""
    part = st.floats(0, 1)
    ends = st.sampled_from(("fails", "dies"))
    short = [Fault("write", draw(part), "short") for _ in range(draw(st.sampled_from((0, 0, 1, 2))))]
    calls = draw(
        st.sampled_from(((), (), ("write",), ("sync",), ("write", "truncate"), ("sync", "truncate"), CALLS))
    )
    return short + [Fault(call, draw(part), draw(ends)) for call in calls]


class JournalMachine(RuleBasedStateMachine):
    """Appends, failures, deaths and restarts, in any order."""

    fsync: FsyncMode = "never"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="journal-model-"))
        self.directory = self.root / "journal"
        self.numbers = iter(range(1_000_000))
        self.living: dict[int, Life] = {}
        self.lives: dict[str, Life] = {}
        self.read: dict[str, list[bytes]] = defaultdict(list)
        self.positions: dict[str, int] = {}
        self.damage: list[Damage] = []
        self.reader = JournalReader(self.directory, quarantine=self.root / "quarantine")

    @rule(
        who=st.integers(0, 1),
        appends=st.lists(st.tuples(st.integers(0, 400), failures()), min_size=1, max_size=5),
    )
    def append(self, who: int, appends: list[tuple[int, list[Fault]]]) -> None:
        for size, faults in appends:
            self._append(who, size, faults)

    def _append(self, who: int, size: int, faults: list[Fault]) -> None:
        life = self._life(who)
        number = next(self.numbers)
        payload = number.to_bytes(4, "big") + bytes([number % 251]) * size
        life.disk.faults, life.disk.met = faults, set()
        try:
            name, end = life.writer.append(payload, kind=Kind.SPANS, items=1, config="0123456789abcdef")
            life.acknowledged.append((payload, name, end))
        except JournalError:
            if {"sync", "truncate"} <= life.disk.met:
                life.doubtful.add(payload)
        except Killed:
            life.doubtful.add(payload)
            self._bury(who)
        finally:
            life.disk.faults = []

    @precondition(lambda self: self.living)
    @rule(who=st.integers(0, 1), faults=failures())
    def tend(self, who: int, faults: list[Fault]) -> None:
        who = self._one_of_the_living(who)
        life = self.living[who]
        life.disk.faults = faults
        try:
            life.writer.tend()
        except Killed:
            self._bury(who)
        finally:
            life.disk.faults = []

    @precondition(lambda self: self.living)
    @rule(who=st.integers(0, 1))
    def close(self, who: int) -> None:
        who = self._one_of_the_living(who)
        self.living.pop(who).writer.close()

    @precondition(lambda self: self.living)
    @rule(who=st.integers(0, 1))
    def kill(self, who: int) -> None:
        self._bury(self._one_of_the_living(who))

    @precondition(lambda self: self.living and self.fsync != "never")
    @rule(who=st.integers(0, 1), share=st.floats(0, 1))
    def cut_power(self, who: int, share: float) -> None:
        """What was not synced is lost from some point on; with `always`, nothing acknowledged may be."""
        who = self._one_of_the_living(who)
        life = self.living[who]
        self._bury(who)
        for segment in self.reader.segments():
            path = self.directory / segment.name
            if self.lives[segment.name.partition("-")[0]] is not life:
                continue
            safe = max(life.disk.safe_bytes.get(path.stat().st_ino, 0), self.positions.get(segment.name, 0))
            kept = safe + round((segment.size - safe) * share)
            os.truncate(path, kept)
            if self.fsync == "interval":
                life.acknowledged = [
                    frame for frame in life.acknowledged if frame[1] != segment.name or frame[2] <= kept
                ]
        self.reader = JournalReader(self.directory, quarantine=self.root / "quarantine")

    @precondition(lambda self: self.living and self.fsync == "interval")
    @rule(who=st.integers(0, 1))
    def pass_interval(self, who: int) -> None:
        """After a round of upkeep, all that was acknowledged before is safe, but where a sync has failed."""
        life = self.living[self._one_of_the_living(who)]
        for _ in range(20):
            life.writer.tend()
        for _, name, end in life.acknowledged:
            path = self.directory / name
            if path.exists() and (number := path.stat().st_ino) not in life.disk.unsure:
                assert life.disk.safe_bytes.get(number, 0) >= end

    @rule(max_bytes=st.integers(1, 2000), segments=st.integers(1, 3))
    def read_some(self, max_bytes: int, segments: int) -> None:
        for segment in self.reader.segments()[:segments]:
            self._read(segment.name, max_bytes)
            if self.positions.get(segment.name, 0) < segment.size:
                break  # what comes after is read after

    @rule()
    def read_and_remove(self) -> None:
        for segment in self.reader.segments():
            self._read(segment.name, 1 << 20)
            if not segment.alive and self.positions.get(segment.name, 0) >= segment.size:
                self.reader.remove(segment.name)

    @rule()
    def restart_reader(self) -> None:
        self.reader = JournalReader(self.directory, quarantine=self.root / "quarantine")

    @invariant()
    def read_is_what_was_acknowledged(self) -> None:
        for writer_id, read in self.read.items():
            life = self.lives[writer_id]
            assert len(read) == len(set(read))
            sure = [payload for payload in read if payload not in life.doubtful]
            assert sure == [payload for payload, _, _ in life.acknowledged][: len(sure)]
        assert {damage.reason for damage in self.damage} <= {"torn_tail"}

    def teardown(self) -> None:
        try:
            for who in list(self.living):
                self.living.pop(who).writer.close()
            self.read_and_remove()
            self.read_is_what_was_acknowledged()
            for writer_id, life in self.lives.items():
                assert {payload for payload, _, _ in life.acknowledged} <= set(self.read[writer_id])
            assert list(self.directory.glob("*.seg")) == []
        finally:
            shutil.rmtree(self.root)

    def _life(self, who: int) -> Life:
        """The living writer of that place; a new one if it died."""
        if who not in self.living:
            disk = UnreliableDisk()
            writer_id = f"w{len(self.lives)}"
            writer = StepwiseWriter(
                self.directory,
                writer_id=writer_id,
                fsync=self.fsync,
                fsync_interval_s=0.0,
                segment_bytes=1_000,
                disk=disk,
            )
            self.living[who] = self.lives[writer_id] = Life(writer, disk)
        return self.living[who]

    def _one_of_the_living(self, who: int) -> int:
        return who if who in self.living else next(iter(self.living))

    def _bury(self, who: int) -> None:
        self.living.pop(who).writer.die()

    def _read(self, name: str, max_bytes: int) -> None:
        for item in self.reader.read(name, self.positions.get(name, 0), max_bytes=max_bytes):
            if isinstance(item, Frame):
                self.read[name.partition("-")[0]].append(item.payload)
            else:
                self.damage.append(item)
            self.positions[name] = item.end


class IntervalMachine(JournalMachine):
    """The same with a sync now and then."""

    fsync = "interval"


class AlwaysMachine(JournalMachine):
    """The same with a sync for each append."""

    fsync = "always"


_settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
for machine in (JournalMachine, IntervalMachine, AlwaysMachine):
    machine.TestCase.settings = _settings
TestNever = JournalMachine.TestCase
TestInterval = IntervalMachine.TestCase
TestAlways = AlwaysMachine.TestCase
