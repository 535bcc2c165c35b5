"""`otel-wandb run -- COMMAND`: the command in place of this process, instrumented from its first line on.

It does what `opentelemetry-instrument` does: a `sitecustomize` on `PYTHONPATH` sets everything up in the
command and in every Python that it starts, so workers, reloaders and spawned children are instrumented, too.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from opentelemetry.instrumentation import auto_instrumentation

from otel_wandb.config import resolve
from otel_wandb.errors import ConfigError
from otel_wandb.ingest.autoinstrument import NAME


def run_instrumented(command: Sequence[str], data_dir: Path | None = None) -> NoReturn:
    """Become the command. Its exit code, signals and streams are its own from here on.

    Raises ConfigError if a setting is wrong, or if there is no such command.
    """
    environment = make_environment(os.environ, data_dir)
    resolve(
        environ=environment
    )  # what is wrong is told before the service runs, not in the middle of its log
    if not command:
        raise ConfigError(
            "there is nothing to run; name a command, as in `otel-wandb run -- uvicorn app:app`"
        )
    program = find_program(command[0], environment.get("PATH"))
    if program is None:
        beside = Path(sys.executable).parent
        raise ConfigError(
            f"there is no program {command[0]!r} on PATH or in {beside}; is its environment active?"
        )
    os.execve(program, [program, *command[1:]], environment)  # noqa: S606  no shell is the point


def find_program(name: str, path: str | None) -> str | None:
    """Where it is: on PATH, else beside the Python that we run in, whose environment may not be active."""
    return shutil.which(name, path=path) or shutil.which(name, path=str(Path(sys.executable).parent))


def make_environment(environ: Mapping[str, str], data_dir: Path | None = None) -> dict[str, str]:
    """The environment in which a command is instrumented. What the user has set stays as it is."""
    environment = dict(environ)
    for name in ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"):
        if not environment.get(name):
            environment[name] = NAME
    if data_dir is not None:
        environment["OTEL_WANDB_DIR"] = str(data_dir.absolute())
    hook, here = str(Path(auto_instrumentation.__file__).parent), str(Path.cwd())
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", hook)]
    if here not in paths:  # as `opentelemetry-instrument` does, for programs that look for the service there
        paths.insert(0, here)
    environment["PYTHONPATH"] = os.pathsep.join([hook, *paths])
    return environment
