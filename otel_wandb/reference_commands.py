"""`otel-wandb reference`: distributions that drift is measured from, and answers to alarms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from otel_wandb.cli_options import Command, configured
from otel_wandb.config import resolve
from otel_wandb.datadir import DataDir
from otel_wandb.errors import InputError

if TYPE_CHECKING:
    from otel_wandb.config import Settings
    from otel_wandb.reference_sources import Chosen
    from otel_wandb.views.reference import Reference
    from otel_wandb.views.reference_check import Taken

_EXIT_BAD = 1
_STRATA = ("none", "hour_of_day", "hour_of_week")

_SOURCES: Sequence[Callable[[Command], Command]] = (
    click.argument("files", nargs=-1, type=click.Path(path_type=Path)),
    click.option("--instrument", default="", help="FILES are OTLP; the instrument, `*` at its end for more."),
    click.option("--where", multiple=True, help="NAME=VALUE: an attribute that series have to have."),
    click.option("--service", default="", help="Only of this service."),
    click.option("--category", default="", help="The attribute whose values are counted, in OTLP."),
    click.option("--stored", default="", metavar="KEY", help="Stored rows: a key of histograms in them."),
    click.option("--artifact", default="", help="An artifact of W&B, or a table: entity/project/name:alias."),
    click.option("--file", "file_name", default="", help="The file of the artifact."),
    click.option("--column", default="", help="The column, of several."),
    click.option("--since", default="", help="Only what came after this time (UTC), as 2026-11-01T00:00."),
    click.option("--until", default="", help="Only what came up to this time."),
)


def _from_sources(command: Command) -> Command:
    for option in reversed(_SOURCES):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a command was told of where the data are."""

    files: tuple[Path, ...]
    instrument: str
    where: tuple[str, ...]
    service: str
    category: str
    stored: str
    artifact: str
    file_name: str
    column: str
    since: str
    until: str
    config_file: Path | None
    data_dir: Path | None

    @property
    def settings(self) -> Settings:
        """The settings that hold here."""
        return resolve({"data_dir": self.data_dir and str(self.data_dir)}, file=self.config_file).settings

    @property
    def chosen(self) -> Chosen:
        """Which data of OTLP files are meant."""
        from otel_wandb.reference_sources import Chosen, Span, read_time

        span = Span(
            read_time(self.since) if self.since else 0, read_time(self.until) if self.until else 2**63
        )
        pairs = [pair.partition("=") for pair in self.where]
        where = {name: value for name, _, value in pairs}
        return Chosen(self.instrument, where, self.service, self.category, span)

    @property
    def source(self) -> str:
        """Where the data are, in words."""
        what = self.artifact or (f"stored rows, {self.stored}" if self.stored else "")
        what = what or ", ".join(path.name for path in self.files)
        what = f"{self.instrument} in {what}" if self.instrument else what
        times = [f"{word} {time}" for word, time in (("since", self.since), ("until", self.until)) if time]
        return ", ".join([what, *times])

    def check(self) -> None:
        """Raises click.UsageError where it says several things, or none."""
        if sum(map(bool, (self.files, self.stored, self.artifact))) != 1:
            raise click.UsageError("name one source: FILES, --stored KEY or --artifact NAME")
        if self.files and not self.instrument and len(self.files) > 1:
            raise click.UsageError("samples are read from one file; of OTLP files name the --instrument")

    def fetch(self) -> tuple[str, bytes]:
        """Name and content of a file of samples, or of a file of an artifact."""
        if self.artifact:
            from otel_wandb.delivery.credentials import WeaveTarget
            from otel_wandb.delivery.wandb_artifacts import Address, fetch_file

            settings = self.settings
            target = WeaveTarget.find(msgspec.structs.replace(settings, mode="online"))
            address = Address.read(self.artifact)
            fetched = fetch_file(address, target, file=self.file_name, timeout_s=settings.request_timeout_s)
            return fetched.name, fetched.content
        path = self.files[0]
        try:
            return path.name, path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: expected a file that can be read: {error.strerror}") from None

    def take(self) -> tuple[list[Taken], bool]:
        """The values by interval, and whether their times are those of a clock."""
        from otel_wandb import reference_sources as sources

        chosen = self.chosen
        if self.stored:
            directory = DataDir(Path(self.settings.data_dir))
            return sources.gather_rows(directory, self.stored, service=self.service, span=chosen.span), True
        if self.instrument:
            return sources.gather_values(self.files, chosen, self.settings), True
        return sources.take_samples(*self.fetch(), column=self.column), False


@click.group()
def reference() -> None:
    """Make and test references of drift, and answer alarms of views.

    \b
    otel-wandb reference create lengths.csv --column length -o lengths.json
    otel-wandb reference test metrics.jsonl --instrument rag.query.length
    otel-wandb reference accept query_length
    """


@reference.command()
@_from_sources
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="To here."
)
@click.option("--categories", is_flag=True, help="The samples are names, not numbers.")
@click.option("--strata", type=click.Choice(_STRATA), default="none", help="As the view has it.")
@click.option(
    "--unit", type=click.Choice(["request", "interval"]), default="request", help="As the view has it."
)
@configured
def create(
    output: Path,
    categories: bool,
    strata: Literal["none", "hour_of_day", "hour_of_week"],
    unit: str,
    **told: object,
) -> None:
    """Make a reference and write it to a file, which a view names as its `reference`.

    FILES are samples (npy, csv, tsv, txt, json, jsonl), or OTLP files with --instrument. Stored rows and
    artifacts of W&B are read with --stored and --artifact; an artifact may hold a reference, a table, or
    samples.
    """
    asked = msgspec.convert(told, _Asked)
    asked.check()
    made = _make(asked, categories=categories, strata=strata, by_interval=unit == "interval")
    output.write_bytes(msgspec.json.format(made.to_json(), indent=1))
    _show(made)
    click.echo(f"It is in {output}; a view takes it with: reference: {output}")


@reference.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def show(file: Path) -> None:
    """Tell what a reference is of."""
    from otel_wandb.view_settings import load_reference

    try:
        _show(load_reference(file))
    except ValueError as error:
        raise click.ClickException(str(error)) from None


@reference.command()
@_from_sources
@click.option("--window", "window_s", default=3600.0, show_default=True, help="Seconds, as the view has it.")
@click.option("--requests", "window_requests", default=500, show_default=True, help="As the view has it.")
@configured
def test(window_s: float, window_requests: int, **told: object) -> None:
    """Tell whether data are stable by themselves: if not, drift from them would alarm by itself.

    The first half is the reference, and window after window of the rest is compared with it. Exits 1 if it
    is not stable, with the setting that helps. Of samples 50 count as a minute, in the order of the file.
    """
    from otel_wandb.views.reference_check import check_reference

    asked = msgspec.convert(told, _Asked)
    asked.check()
    taken, timed = asked.take()
    check = check_reference(
        taken, window_s=window_s if timed else 0.0, window_requests=window_requests, timed=timed
    )
    for line in check.words:
        click.echo(line)
    if not check.stable:
        sys.exit(_EXIT_BAD)


@reference.command()
@click.argument("view")
@click.argument("group", nargs=-1)
@click.option("--service", default="", help="Only of this service.")
@configured
def accept(
    view: str, group: tuple[str, ...], service: str, config_file: Path | None, data_dir: Path | None
) -> None:
    """End the alarm of a VIEW: what came since the change is its reference from now on.

    Without a GROUP (the values of `by`) all of its alarms end. It takes effect with the next row.
    """
    _answer("accept", view, group, service, config_file, data_dir)


@reference.command()
@click.argument("view")
@click.argument("group", nargs=-1)
@click.option("--service", default="", help="Only of this service.")
@configured
def keep(
    view: str, group: tuple[str, ...], service: str, config_file: Path | None, data_dir: Path | None
) -> None:
    """End the alarm of a VIEW: its reference stays, and evidence begins anew.

    Without a GROUP (the values of `by`) all of its alarms end. It takes effect with the next row.
    """
    _answer("keep", view, group, service, config_file, data_dir)


def _answer(
    action: Literal["keep", "accept"],
    view: str,
    group: tuple[str, ...],
    service: str,
    config_file: Path | None,
    data_dir: Path | None,
) -> None:
    from otel_wandb.view_alarms import find_alarms, give_answer

    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    directory = DataDir(Path(settings.data_dir))
    alarms = find_alarms(directory, view, group, service)
    give_answer(directory, alarms, action)
    for alarm in alarms:
        click.echo(alarm.words)
    done = "Its reference is kept" if action == "keep" else "The change becomes the reference"
    click.echo(f"{done} with the next row; `otel-wandb alerts` tells when.")


def _make(
    asked: _Asked,
    *,
    categories: bool,
    strata: Literal["none", "hour_of_day", "hour_of_week"],
    by_interval: bool,
) -> Reference:
    from otel_wandb import reference_sources as sources

    try:
        if asked.category and asked.instrument:
            names = sources.gather_names(asked.files, asked.chosen, asked.settings)
            return sources.make_names(names, strata=strata, by_interval=by_interval, source=asked.source)
        if asked.instrument or asked.stored:
            taken, _ = asked.take()
            return sources.make_reference(taken, strata=strata, by_interval=by_interval, source=asked.source)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    name, content = asked.fetch()
    return sources.read_samples(
        name, content, column=asked.column, categories=categories, source=asked.source
    )


def _show(made: Reference) -> None:
    from otel_wandb.views.reference_check import show_reference

    for line in show_reference(made):
        click.echo(line)
