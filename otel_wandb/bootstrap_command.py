"""`otel-wandb bootstrap`, as a command of the command line."""

from __future__ import annotations

import sys

import click

from otel_wandb.bootstrap_table import BRANDS, Brand
from otel_wandb.errors import OtelWandbError


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Only show the list; install nothing.")
@click.option("--yes", is_flag=True, help="Install without asking.")
@click.option(
    "--prefer",
    type=click.Choice(BRANDS),
    default=BRANDS[0],
    show_default=True,
    help="Whose instrumentation to take where there are several.",
)
def bootstrap(only_list: bool, yes: bool, prefer: Brand) -> None:
    """Install the published instrumentations that fit what is installed, and none that would double.

    \b
    = is there already    + is to be installed    - does not fit    ! two do the same

    They go into the environment of this command; `otel-wandb run` then uses them. What is installed of
    OpenTelemetry keeps its version.

    \b
    otel-wandb bootstrap --list
    """
    from otel_wandb.bootstrap import find_fitting, install, read_installed

    installed = read_installed()
    findings = find_fitting(installed, prefer=prefer)
    for finding in findings:
        click.echo(finding.render())
    wanted = [finding.requirement for finding in findings if finding.state == "missing"]
    if not wanted:
        click.echo("There is nothing to install.")
        return
    if only_list or not (yes or click.confirm(f"Install these {len(wanted)} into {sys.prefix}?")):
        return
    try:
        install(wanted, installed)
    except OtelWandbError as error:
        raise click.ClickException(str(error)) from error
