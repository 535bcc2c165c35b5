"""Which published instrumentations fit the packages that are installed, and which of two that would double.

A subject is what gets instrumented: a package, and those that instrument it, in the order in which they are
chosen. One of them is enough: two would tell of each call twice. Where one is installed already, it stays.

Pure but for `read_installed` and `install`.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from opentelemetry.instrumentation import bootstrap_gen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from otel_wandb.bootstrap_table import CONTRIB, SUBJECTS, Brand, Subject
from otel_wandb.errors import ConfigError

CORE: Final = "opentelemetry-instrumentation"

State = Literal["there", "doubled", "missing", "unfit"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A subject that is installed.

    `packages` are those that are there, or the one that is to be installed; `passed_over` the others that
    would do the same. An `unfit` one has a `reason`.
    """

    subject: str
    version: str
    state: State
    packages: tuple[str, ...]
    requirement: str = ""
    passed_over: tuple[str, ...] = ()
    reason: str = ""

    def render(self) -> str:
        """A line, or two, for the list."""
        name = f"{self.subject} {self.version}".strip()
        others = f"instead of {', '.join(self.passed_over)}" if self.passed_over else ""
        said = {
            "there": f"{self.packages[0]} is there",
            "doubled": f"{' and '.join(self.packages)} tell the same twice; uninstall all but one of them",
            "missing": f"{self.requirement or self.packages[0]}{' ' + others if others else ''}",
            "unfit": f"{self.packages[0]} is left out: {self.reason}",
        }
        mark = {"there": "=", "doubled": "!", "missing": "+", "unfit": "-"}
        return f"{mark[self.state]} {name:28} {said[self.state]}"


def find_fitting(
    installed: Mapping[str, str],
    *,
    prefer: Brand = "opentelemetry",
    subjects: Sequence[Subject] = SUBJECTS,
) -> list[Finding]:
    """What there is for the installed packages (canonical name → version), in the order of the table."""
    found = []
    for subject in subjects:
        library = next((name for name in subject.libraries if name in installed), None)
        if (subject.libraries and library is None) or any(name in installed for name in subject.unless):
            continue
        version = installed.get(library, "") if library else ""
        there = tuple(offer.package for offer in subject.offers if offer.package in installed)
        if there:
            state: State = "there" if len(there) == 1 else "doubled"
            found.append(Finding(subject.name, version, state, there))
            continue
        offers = sorted(subject.offers, key=lambda offer: offer.brand != prefer)
        package, others = offers[0].package, tuple(offer.package for offer in offers[1:])
        reason = _find_conflict(package, installed)
        if reason:
            found.append(Finding(subject.name, version, "unfit", (package,), reason=reason))
            continue
        pinned = f"{package}=={installed[CORE]}" if package in CONTRIB and CORE in installed else package
        found.append(Finding(subject.name, version, "missing", (package,), pinned, others))
    return found


def read_installed() -> dict[str, str]:
    """All packages of this environment, by their canonical names."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(str(canonicalize_name(name)), distribution.version)
    return found


def install(requirements: Sequence[str], installed: Mapping[str, str]) -> None:
    """Install them into this environment, with pip or else uv; what it says goes to the terminal.

    What is installed of OpenTelemetry itself keeps its version. Raises ConfigError where that cannot be.
    """
    kept = [f"{name}=={version}" for name, version in installed.items() if _is_core(name)]
    with tempfile.TemporaryDirectory(prefix="otel-wandb-") as directory:
        constraints = Path(directory) / "constraints.txt"
        constraints.write_text("".join(f"{line}\n" for line in sorted(kept)))
        command = [*_find_installer(), "--constraint", str(constraints), *requirements]
        done = subprocess.run(command, check=False)
    if done.returncode:
        raise ConfigError(
            f"the installer ended with {done.returncode}; it was to install {', '.join(requirements)}"
        )


def _is_core(name: str) -> bool:
    parts = ("api", "sdk", "proto", "instrumentation", "semantic-conventions")
    return name in {f"opentelemetry-{part}" for part in parts}


def _find_installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    raise ConfigError(f"there is neither pip nor uv to install with for {sys.executable}")


def _find_conflict(package: str, installed: Mapping[str, str]) -> str:
    """Why it would refuse to work with what is installed, as OpenTelemetry's own table has it."""
    wanted = list(_wanted_by(package))
    here = [
        (need, installed[name]) for need in wanted if (name := str(canonicalize_name(need.name))) in installed
    ]
    if not here or any(need.specifier.contains(version, prereleases=True) for need, version in here):
        return ""
    need, version = here[0]
    return f"it is for {need}, and {version} is installed"


def _wanted_by(package: str) -> Iterable[Requirement]:
    for row in bootstrap_gen.libraries:
        try:
            given = Requirement(str(row["instrumentation"]))
            if canonicalize_name(given.name) == package:
                yield Requirement(str(row["library"]))
        except (InvalidRequirement, KeyError):
            continue
