"""The command `otel-wandb serve`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from otel_wandb.cli_options import configured
from otel_wandb.config import resolve
from otel_wandb.datadir import DataDir


@click.command()
@click.option("--grpc", help="HOST:PORT for OTLP over gRPC (default: 127.0.0.1:4317; port 0: a free one).")
@click.option("--http", help="HOST:PORT for OTLP over HTTP (default: 127.0.0.1:4318; port 0: a free one).")
@click.option("--workers", type=int, help="How many processes take requests (default: 1).")
@click.option("--no-deliver", is_flag=True, help="Convert and store only; a later bridge delivers.")
@click.option("--insecure", is_flag=True, help="Let other machines send without a token.")
@configured
def serve(
    grpc: str | None,
    http: str | None,
    workers: int | None,
    no_deliver: bool,
    insecure: bool,
    config_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Take OTLP from any service or Collector, over gRPC and HTTP, until SIGTERM.

    What was answered with success is in the journal; a bridge converts and delivers it. Needs
    `pip install 'otel-wandb[serve]'`. `READY grpc=HOST:PORT http=HOST:PORT` is printed when requests are
    accepted. Tokens and TLS are settings: docs/serve.md.

    \b
    otel-wandb serve
    otel-wandb serve --grpc 0.0.0.0:4317 --http 0.0.0.0:4318 --workers 2 --config otel-wandb.yaml
    """
    from otel_wandb.serve import serve as run_server

    arguments = {
        "data_dir": data_dir and str(data_dir),
        "serve_grpc": grpc,
        "serve_http": http,
        "serve_workers": workers,
    }
    settings = resolve(arguments, file=config_file).settings
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    sys.exit(
        run_server(
            settings,
            DataDir(Path(settings.data_dir)),
            deliver=not no_deliver,
            insecure=insecure,
            announce=click.echo,
        )
    )
