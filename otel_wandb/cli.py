"""The command line, `otel-wandb`. Nothing else of the package prints, but for the demo."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from otel_wandb import __version__
from otel_wandb.bootstrap_command import bootstrap
from otel_wandb.cli_options import configured as _configured
from otel_wandb.config import SETTINGS, Resolved, resolve
from otel_wandb.datadir import DataDir
from otel_wandb.errors import OtelWandbError
from otel_wandb.reference_commands import reference
from otel_wandb.replay import Replay, replay_files, write_alerts, write_calls, write_feedback, write_rows
from otel_wandb.serve_command import serve
from otel_wandb.status import read_status

_EXIT_BAD = 1


class _Group(click.Group):
    """Shows our own errors as one sentence instead of a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OtelWandbError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="otel-wandb")
def main() -> None:
    """Point any OpenTelemetry service at Weights & Biases.

    Spans become Weave traces; nothing is lost when the network, W&B or a process fails, because everything
    is in a journal on disk before it is acknowledged.

    \b
    To see it at work:          otel-wandb demo
    From a service:             otel-wandb run -- uvicorn app:app
    From a Collector:           otel-wandb serve
    From OTLP files:            otel-wandb replay traces.jsonl metrics.jsonl
    To see what became of it:   otel-wandb status
    When nothing arrives:       otel-wandb doctor
    When you were offline:      otel-wandb sync
    """


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--calls",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the Weave calls, one JSON object a line.",
)
@click.option(
    "--feedback",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the scores as Weave feedback, one JSON object a line.",
)
@click.option(
    "--rows",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows of the charts, one JSON object a line.",
)
@click.option(
    "--alerts",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the alerts, one JSON object a line.",
)
@click.option("--no-deliver", is_flag=True, help="Convert and store only; a later bridge delivers.")
@click.option(
    "--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds to wait for the delivery."
)
@_configured
def replay(
    files: tuple[Path, ...],
    calls: Path | None,
    feedback: Path | None,
    rows: Path | None,
    alerts: Path | None,
    no_deliver: bool,
    timeout_s: float,
    config_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Put OTLP files through the whole bridge, with event time as the clock.

    FILES hold OTLP/JSON: one request a line, as the Collector's `file` exporter writes it, or one document;
    `.gz` is unpacked. Traces and logs of one service may be given together. The same files give the same
    output, byte for byte; what a data directory has seen before is not delivered twice.

    \b
    otel-wandb replay traces.jsonl logs.jsonl --no-deliver --calls calls.jsonl
    """
    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    directory = DataDir(Path(settings.data_dir))
    directory.create()
    outcome = replay_files(
        list(files), settings, directory, deliver=not no_deliver, deliver_timeout_s=timeout_s
    )
    if calls is not None:
        write_calls(calls, directory, outcome.trace_ids)
    if feedback is not None:
        write_feedback(feedback, directory, outcome.trace_ids)
    if rows is not None:
        write_rows(rows, directory, outcome.run_ids)
    if alerts is not None:
        write_alerts(alerts, directory, outcome.run_ids)
    _report(outcome, directory, delivering=not no_deliver)
    if outcome.unreadable:
        sys.exit(_EXIT_BAD)


def _report(outcome: Replay, directory: DataDir, *, delivering: bool) -> None:
    for unreadable in outcome.unreadable:
        click.echo(f"{unreadable.place}: expected {unreadable.expected}", err=True)
    status = read_status(directory)
    spans, waiting = status.ledger.lines["spans"], status.ledger.lines["calls"].waiting
    click.echo(
        f"{spans.received} spans received, {spans.delivered} became calls, {waiting} calls wait.", err=True
    )
    if delivering and outcome.problem:
        click.echo(f"Not everything was delivered: {outcome.problem}", err=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@_configured
def status(as_json: bool, config_file: Path | None, data_dir: Path | None) -> None:
    """Tell what was received and what became of it, and what the bridge does.

    For every signal: received = delivered + sampled_out + rejected + dropped + waiting. Nothing is dropped
    or rejected without a reason that stands here.
    """
    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    seen = read_status(DataDir(Path(settings.data_dir)), settings)
    click.echo(seen.to_json() if as_json else seen.render())


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@click.option(
    "--try",
    "trying",
    is_flag=True,
    help="Tell what the rules of the settings would have found in the stored rows; sends and stores nothing.",
)
@_configured
def alerts(as_json: bool, trying: bool, config_file: Path | None, data_dir: Path | None) -> None:
    """List the alerts that fired and recovered, and what became of each on its routes.

    \b
    otel-wandb alerts --try --config otel-wandb.yaml
    """
    from otel_wandb.alert_report import encode_alerts, list_alerts, render_alerts, try_rules
    from otel_wandb.alerts.reading import parse_plan

    if trying and as_json:
        raise click.UsageError("--try tells what would be and --json what was; choose one of them")
    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    directory = DataDir(Path(settings.data_dir))
    if trying:
        click.echo(try_rules(directory, parse_plan(settings.alerts)).render())
        return
    found = list_alerts(directory)
    click.echo(encode_alerts(found) if as_json else render_alerts(found))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Where journal and store live."
)
def run(command: tuple[str, ...], data_dir: Path | None) -> None:
    """Run a service instrumented: its spans, metrics and log records go to W&B, without a change in its code.

    The published OpenTelemetry instrumentations that are installed are used. OpenTelemetry's own variables
    keep their meaning.

    \b
    otel-wandb run -- uvicorn app:app --workers 2
    """
    from otel_wandb.launch import run_instrumented

    run_instrumented(list(command), data_dir)


@main.command()
@click.option("--timeout", "timeout_s", type=float, help="Seconds to wait at most (default: no limit).")
@_configured
def sync(timeout_s: float | None, config_file: Path | None, data_dir: Path | None) -> None:
    """Upload what was kept offline: calls to Weave, rows to W&B runs, each once.

    It may be stopped and called again as often as you like.
    """
    from otel_wandb.sync import sync as upload

    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    directory = DataDir(Path(settings.data_dir))
    directory.create()
    done = upload(directory, settings, deadline_s=timeout_s)
    scores = f", {done.calls.feedback_delivered} scores" if done.calls.feedback_delivered else ""
    click.echo(f"{done.calls.delivered} calls{scores} and {done.rows.delivered} rows were uploaded.")
    if not done.complete:
        scores = f", {done.calls.feedback_waiting} scores" if done.calls.feedback_waiting else ""
        left = f"{done.calls.waiting} calls{scores} and {done.rows.waiting} rows wait"
        raise click.ClickException(f"{left}: {done.problem or 'the time was up'}")


@main.command()
@click.option("--calls", type=click.Path(dir_okay=False, path_type=Path), help="Write all calls here.")
@click.option("--feedback", type=click.Path(dir_okay=False, path_type=Path), help="Write all scores here.")
@click.option("--rows", type=click.Path(dir_okay=False, path_type=Path), help="Write all rows here.")
@click.option(
    "--wandb-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write all runs as offline runs of wandb: `wandb leet run` shows them, `wandb sync` uploads them.",
)
@_configured
def export(
    calls: Path | None,
    feedback: Path | None,
    rows: Path | None,
    wandb_dir: Path | None,
    config_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Write what the store holds to files: one JSON object a line, or offline runs of wandb."""
    from otel_wandb.export import export_calls, export_feedback, export_rows, export_wandb_dir

    if calls is None and feedback is None and rows is None and wandb_dir is None:
        raise click.UsageError(
            "name what to write: --calls FILE, --feedback FILE, --rows FILE or --wandb-dir DIR"
        )
    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    directory = DataDir(Path(settings.data_dir))
    if calls is not None:
        click.echo(f"{export_calls(directory, calls)} calls are in {calls}.")
    if feedback is not None:
        click.echo(f"{export_feedback(directory, feedback)} scores are in {feedback}.")
    if rows is not None:
        click.echo(f"{export_rows(directory, rows)} rows are in {rows}.")
    if wandb_dir is not None:
        wandb_dir.mkdir(parents=True, exist_ok=True)
        for path in export_wandb_dir(directory, wandb_dir):
            click.echo(f"Look at it with: wandb leet run {path}")


@main.command()
@click.option("--apply", "applying", is_flag=True, help="Save it in W&B, in place of the one that is there.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print what would be saved. Needs no network and no key."
)
@click.option("--service", "services", multiple=True, help="Only of this service; may be given repeatedly.")
@click.option("--title", default="", help="What W&B calls it (default: otel-wandb: SERVICE).")
@_configured
def dashboard(
    applying: bool,
    as_json: bool,
    services: tuple[str, ...],
    title: str,
    config_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Lay out a W&B workspace over the runs of each service: print it, or save it with --apply.

    It is made from the catalogue of charts, from what the local store has seen of the service, and from the
    settings. A workspace of the same title is changed, never made a second time; what was changed by hand
    in it is lost. Needs `pip install 'otel-wandb[dashboard]'`.

    \b
    otel-wandb dashboard --apply
    """
    from otel_wandb.dashboard import apply_plan, encode_plan, plan_dashboards, render_plan

    if applying and as_json:
        raise click.UsageError("--apply saves and --json only prints; choose one of them")
    settings = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file).settings
    directory = DataDir(Path(settings.data_dir))
    planned = plan_dashboards(settings, directory, services=services, title=title)
    if as_json:
        click.echo(encode_plan(planned))
    elif applying:
        for line in apply_plan(planned, settings):
            click.echo(line)
    else:
        click.echo(render_plan(planned))
        click.echo("\nNothing was sent: --apply saves it in W&B, --json prints the document.", err=True)


@main.command()
@click.option("--no-probe", is_flag=True, help="Only look; send nothing.")
@click.option(
    "--timeout", "timeout_s", default=30.0, show_default=True, help="Seconds that a probe may take."
)
@_configured
def doctor(no_probe: bool, timeout_s: float, config_file: Path | None, data_dir: Path | None) -> None:
    """Find out why nothing arrives: looks at everything on the way, and sends a probe through it and back.

    Exits 1 if something is wrong, with what to do about it.
    """
    from otel_wandb.doctor import examine

    arguments = {"data_dir": data_dir and str(data_dir)}
    findings = examine(arguments, file=config_file, probe=not no_probe, timeout_s=timeout_s)
    for finding in findings:
        click.echo(finding.render())
    if any(finding.level == "bad" for finding in findings):
        sys.exit(_EXIT_BAD)


@main.command()
@click.option("--once", is_flag=True, help="End the service, check that all is there, and exit 0 or 1.")
@click.option("--requests", type=click.IntRange(min=1), help="How many requests to send.")
@_configured
def demo(once: bool, requests: int | None, config_file: Path | None, data_dir: Path | None) -> None:
    """Watch a small RAG service at work: traces, charts and the ledger. Needs no account and no network."""
    from otel_wandb.demo import prepare_demo, run_demo

    prepared = prepare_demo(once=once, requests=requests, data_dir=data_dir, config_file=config_file)
    sys.exit(run_demo(prepared))


main.add_command(bootstrap)
main.add_command(reference)
main.add_command(serve)


@main.group()
def config() -> None:
    """Show the settings that hold here, or check a file of settings."""


@config.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@_configured
def config_show(as_json: bool, config_file: Path | None, data_dir: Path | None) -> None:
    """Print each setting, its value, and where the value came from."""
    resolved = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file)
    values = _values(resolved)
    if as_json:
        document = {name: {"value": value, "origin": resolved.origin[name]} for name, value in values.items()}
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
        return
    width = max(len(name) for name in values)
    shown = {name: str(value) if value != "" else "-" for name, value in values.items()}
    column = max(len(value) for value in shown.values())
    for name, value in shown.items():
        click.echo(f"{name:{width}}  {value:{column}}  {resolved.origin[name]}")


@config.command("check")
@_configured
def config_check(config_file: Path | None, data_dir: Path | None) -> None:
    """Exit 0 if the settings are right, 1 with the reason otherwise."""
    resolved = resolve({"data_dir": data_dir and str(data_dir)}, file=config_file)
    changed = sum(origin != "default" for origin in resolved.origin.values())
    click.echo(f"The settings are right; {changed} differ from their defaults.")


def _values(resolved: Resolved) -> dict[str, object]:
    return {setting.name: getattr(resolved.settings, setting.name) for setting in SETTINGS}


if __name__ == "__main__":
    main()
