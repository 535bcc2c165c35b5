"""Options that commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])


def configured(command: Command) -> Command:
    """Give a command the options that every command has: where the data lives, and the file of settings."""
    options = (
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="A YAML file of settings (default: the one that OTEL_WANDB_CONFIG names).",
        ),
        click.option(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            help="Where journal and store live (default: OTEL_WANDB_DIR, else the user's state directory).",
        ),
    )
    for option in options:
        command = option(command)
    return command
