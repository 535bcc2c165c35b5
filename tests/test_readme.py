"""The code of README.md runs, and the commands that it names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from otel_wandb.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_python_blocks_run(tmp_path: Path) -> None:
    assert blocks("python")
    for code in blocks("python"):
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                "-c",
                code + "\ntrace.get_tracer('readme').start_span('x').end()",
            ],
            env={**os.environ, "OTEL_WANDB_DIR": str(tmp_path), "OTEL_WANDB_MODE": "offline"},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def test_every_command_that_is_named_exists() -> None:
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("otel-wandb ")]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        command = command_of(words)
        result = CliRunner().invoke(main, [*command, "--help"])
        assert result.exit_code == 0, (line, result.output)


def command_of(words: list[str]) -> list[str]:
    """The names of command and subcommand, without arguments and options."""
    names = words[:1]
    if names == ["config"]:
        names = words[:2]
    return names
