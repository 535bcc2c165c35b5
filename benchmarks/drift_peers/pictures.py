"""A picture of each stream in a JSON file: its values by window, the evidence, and who alarmed when."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt


def draw(trace: dict, path: Path) -> None:
    windows = range(1, len(trace["evidence"]) + 1)
    figure, (values, evidence, alarms) = plt.subplots(
        3, 1, sharex=True, figsize=(9, 8), height_ratios=(3, 3, 0.4 + 0.22 * len(trace["alarms"]))
    )
    for name, line in trace["lines"].items():
        values.plot(windows, line, label=name)
    values.set_title(f"{trace['name']}: {trace['what']}")
    values.legend(loc="upper left", fontsize="small")
    evidence.semilogy(windows, trace["evidence"], color="black", label="evidence (Shiryaev–Roberts)")
    evidence.axhline(trace["budget"], color="tab:red", linestyle="--", label=f"alarm at {trace['budget']:,}")
    evidence.legend(loc="upper left", fontsize="small")
    for row, found in enumerate(trace["alarms"].values()):
        alarms.plot([i + 1 for i in found], [row] * len(found), "|", markersize=7, color="tab:red")
    alarms.set_yticks(range(len(trace["alarms"])), trace["alarms"], fontsize="x-small")
    alarms.set_ylim(len(trace["alarms"]) - 0.5, -0.5)
    alarms.set_xlabel("window")
    for axis in (values, evidence, alarms):
        if trace["change"] is not None:
            axis.axvline(trace["change"] + 0.5, color="tab:gray", linestyle=":")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


directory = Path(sys.argv[2])
directory.mkdir(parents=True, exist_ok=True)
for number, trace in enumerate(json.loads(Path(sys.argv[1]).read_text())):
    name = "".join(c if c.isalnum() else "_" for c in trace["name"])
    draw(trace, directory / f"{number:02}_{name}.png")
