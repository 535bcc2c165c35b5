"""The examples of docs/views.md are right."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Final

import click
import pytest
import yaml

from otel_wandb.cli import main
from otel_wandb.view_settings import parse_views, read_views
from otel_wandb.views.definitions import View
from tests.peers.environments import CHECKOUT

PAGE: Final = (CHECKOUT / "docs" / "views.md").read_text()


def commands() -> list[list[str]]:
    """The lines of the page that call otel-wandb, without its name."""
    lines = re.findall(r"^otel-wandb (.+)$", PAGE, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_the_commands_are_there(arguments: list[str]) -> None:
    command: click.Command = main
    rest = list(arguments)
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    command.make_context(" ".join(arguments), rest)  # raises for an option that it does not have


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(text)


def test_the_file_of_settings_is_read() -> None:
    views = parse_views(read_views(yaml.safe_load(block("yaml"))["views"]))
    assert {type(view) for view in views} == set(View.__args__)


def test_the_code_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block("python")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(parse_views(done.stdout.strip())) == 4


def test_all_kinds_are_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \| [^|]*\| `\w+/\{view\}", PAGE, re.MULTILINE)
    assert listed == [kind.__struct_config__.tag for kind in View.__args__]
