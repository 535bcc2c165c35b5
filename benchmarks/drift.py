"""How well drift is told from chance: what is promised, and what other packages do on the same streams.

    python -m benchmarks.drift [--quick] [--repetitions N] [--peers NAMES] [--report FILE] [--pictures DIR]

First the goals T1 to T10: calibration, power, false alarms of streams, delay, units, merges, bursts, seasons,
replay, cost. Then streams, made up and of real data that ships inside packages, judged by us, by SciPy, and
by Evidently, NannyML, whylogs, river and Frouros with their defaults (each in an environment of its own,
built once). Nothing is downloaded but packages. All is seeded: only times differ between two runs.

`--repetitions` (5,000) is how often the calibration is tried; all else is in proportion. `--peers` names some
of them, such as `river,evidently`, or `none`. Ends with 1 if a goal was missed by more than chance.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import drift_promises, drift_targets
from benchmarks.drift_annotated import annotated_groups, annotated_table, renewing
from benchmarks.drift_field import field_tables, single_table
from benchmarks.drift_ours import BUDGETS, Watched, ours, self_tests, window_tests
from benchmarks.drift_real import Arrays, real_groups
from benchmarks.drift_report import Finding, Table, findings_table, to_markdown, to_text
from benchmarks.drift_runners import PEERS, Said, ask, draw_pictures, load_data
from benchmarks.drift_scores import Method
from benchmarks.drift_streams import Group, save_groups, single_windows, synthetic_groups

QUICK = 50


class Plan(NamedTuple):
    """How much of everything."""

    repetitions: int

    @property
    def power(self) -> int:
        return max(self.repetitions * 3 // 10, 20)

    @property
    def null_streams(self) -> int:
        return max(self.repetitions // 25, 4)

    @property
    def long_runs(self) -> int:
        return max(self.repetitions // 20, 4)

    @property
    def delays(self) -> int:
        return max(self.repetitions // 25, 5)

    @property
    def dependent(self) -> int:
        return max(self.repetitions // 4, 30)

    @property
    def singles(self) -> int:
        return max(self.repetitions // 10, 8)

    @property
    def streams(self) -> int:
        return max(self.repetitions // 100, 2)


class Field(NamedTuple):
    """All streams, and what they are for."""

    singles: list[Group]
    streams: list[Group]
    annotated: list[Group]

    @property
    def all(self) -> list[Group]:
        return [*self.singles, *self.streams, *self.annotated]


def measure_promises(plan: Plan, executor: Executor) -> tuple[list[Finding], list[Table]]:
    """T1 to T9; the cost is measured before, when nothing else runs."""
    calibration, calibration_table = drift_targets.measure_calibration(plan.repetitions, executor)
    _tell("T1")
    power, power_table = drift_targets.measure_power(plan.power, executor)
    _tell("T2")
    budgets = drift_targets.measure_false_alarms(plan.null_streams, plan.long_runs, executor)
    _tell("T3")
    delay, delay_table = drift_targets.measure_delay(plan.delays, executor)
    _tell("T4")
    findings = [
        *calibration,
        *power,
        *budgets,
        *delay,
        *drift_promises.measure_units(plan.delays, executor),
        *drift_promises.measure_merges(),
        *drift_promises.measure_bursts(plan.dependent, executor),
        *drift_promises.measure_season(plan.dependent, executor),
        *drift_promises.measure_replay(),
    ]
    _tell("T5 to T9")
    return findings, [calibration_table, power_table, delay_table]


def make_field(plan: Plan, data: dict[str, Arrays]) -> Field:
    """The streams: what is made up, and the real data of the peers that take part."""
    nannyml, river = data.get("nannyml", {}), data.get("river", {})
    streams = [*synthetic_groups(plan.streams), *real_groups(nannyml, river)]
    return Field(single_windows(plan.singles), streams, annotated_groups(river))


def ask_peers(peers: Sequence[str], groups: Path) -> list[Said]:
    """One after the other, so that a core is left for ours."""
    said = []
    for peer in peers:
        said.append(ask(peer, groups))
        _tell(peer)
    return said


def compare(
    field: Field, data: dict[str, Arrays], said: Sequence[Said], executor: Executor
) -> tuple[list[Table], list[Method], dict[str, list[Watched]]]:
    """The tables of all methods on all streams."""
    alone = window_tests(field.all, executor)
    _tell("window tests")
    mine, seen = ours(field.streams, executor)
    _tell("our detector")
    theirs = [method for peer in said for method in peer.methods]
    methods = [*mine, *alone, *theirs]
    tables = field_tables(field.streams, methods, self_tests(seen), mine[0].name)
    tables.insert(4, single_table(field.singles, [*alone, *theirs]))
    if field.annotated:
        marked = [renewing(field.annotated), *alone, *theirs]
        tables.append(annotated_table(field.annotated, marked, data["river"]))
    return tables, methods, seen


def save_traces(
    path: Path, groups: Sequence[Group], methods: Sequence[Method], seen: dict[str, list[Watched]]
) -> None:
    """For the pictures: of each group the first stream that our detector alarms on."""
    traces = []
    for group in groups:
        for stream, watched in enumerate(seen[group.name]):
            if watched.alarms[0]:
                traces.append(_trace(group, stream, watched, methods))
                break
    path.write_text(json.dumps(traces))


def _trace(group: Group, stream: int, watched: Watched, methods: Sequence[Method]) -> dict[str, object]:
    values = group.values[stream][: group.windows * group.window].reshape(group.windows, group.window)
    if group.kind == "numeric":
        lines = {f"p{q}": np.percentile(values, q, axis=1).tolist() for q in (50, 95)}
    else:
        codes = range(1 if group.kind == "errors" else 0, int(values.max()) + 1)
        lines = {f"share of {code}": (values == code).mean(axis=1).tolist() for code in codes}
    alarms = {m.name: list(m.alarms[group.name][stream]) for m in methods if group.name in m.alarms}
    facts = {"name": group.name, "what": group.what, "change": group.change, "budget": BUDGETS[0]}
    return facts | {"lines": lines, "evidence": watched.evidence, "alarms": alarms}


def measure(arguments: argparse.Namespace, directory: Path) -> tuple[list[Finding], list[Table], list[Said]]:
    """Everything, and the pictures if they are wanted."""
    plan = Plan(QUICK if arguments.quick else arguments.repetitions)
    cost = drift_promises.measure_cost()
    _tell("T10")
    data = {peer: load_data(peer, directory) for peer in ("nannyml", "river") if peer in arguments.peers}
    field = make_field(plan, data)
    groups = directory / "groups.npz"
    save_groups(groups, field.all)
    with _processes() as executor, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask_peers, arguments.peers, groups)
        findings, tables = measure_promises(plan, executor)
        said = asked.result()
        more, methods, seen = compare(field, data, said, executor)
    if arguments.pictures:
        save_traces(directory / "traces.json", field.streams, methods, seen)
        draw_pictures(directory / "traces.json", arguments.pictures)
    return [*findings, *cost], [*tables, *more], said


def _processes() -> ProcessPoolExecutor:
    """Of fresh processes, since threads are about."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn"))


def _tell(done: str) -> None:
    print(f"[{time.monotonic() - _BEGAN_S:.0f} s] {done}", file=sys.stderr, flush=True)


_BEGAN_S = time.monotonic()


def _names(text: str) -> list[str]:
    names = [] if text == "none" else text.split(",")
    if unknown := sorted({*names} - {*PEERS}):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}; there are {', '.join(PEERS)}")
    return names


def main() -> int:
    """Print all tables, and write them where they are wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, to see that it runs")
    parser.add_argument("--repetitions", type=int, default=5000)
    parser.add_argument("--peers", type=_names, default=list(PEERS), help="a list with commas, or none")
    parser.add_argument("--report", type=Path, help="write the tables there, as Markdown")
    parser.add_argument("--pictures", type=Path, help="draw alarms beside their streams into that directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        findings, tables, said = measure(arguments, Path(directory))
    tables = [findings_table(findings), *tables]
    notes = [f"{peer.peer}. {' '.join(peer.notes)}".strip() for peer in said]
    print("\n".join([*map(to_text, tables), *notes]))
    if arguments.report:
        lines = ["# Drift, measured", "", *map(to_markdown, tables), *(f"- {note}" for note in notes), ""]
        arguments.report.write_text("\n".join(lines))
    return int(any(finding.met is False for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
