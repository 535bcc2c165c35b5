"""The examples and tables of docs/instrument.md are right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from otel_wandb.bootstrap_table import SUBJECTS
from otel_wandb.config import resolve
from otel_wandb.instrument.fastapi import KNOWN_HEADERS
from otel_wandb.view_settings import parse_views
from otel_wandb.views import Degradation
from tests.peers.environments import CHECKOUT

PAGE = (CHECKOUT / "docs" / "instrument.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_code_runs(tmp_path: Path) -> None:
    codes = blocks("python")
    assert len(codes) == 2
    for code in codes:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "OTEL_WANDB_DIR": str(tmp_path)},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_all_subjects_are_listed() -> None:
    rows = re.findall(r"^\| [a-z ]+ \| ([A-Za-z].*) \|$", PAGE, re.MULTILINE)
    listed = {name for row in rows for name in row.split(", ")}
    named = {subject.name.removesuffix(" server").removesuffix(" client") for subject in SUBJECTS} - {
        "threads"
    }
    assert named <= listed


def test_the_settings_exist() -> None:
    (exports,) = (text for text in blocks("sh") if "export" in text)
    given = dict(re.findall(r"^export (\w+)=(\S+)", exports, re.MULTILINE))
    settings = resolve(environ=given).settings
    assert (settings.http_bodies, settings.http_body_bytes) == ("both", 16_384)
    assert settings.http_response_headers.split(",") == list(KNOWN_HEADERS)


def test_the_view_is_one() -> None:
    (text,) = blocks("yaml")
    (view,) = parse_views(json.dumps(yaml.safe_load(text)["views"]))
    assert isinstance(view, Degradation)
    assert view.where == {"gen_ai.evaluation.name": "helpful"}


def test_attributes_that_are_named_are_told() -> None:
    room = CHECKOUT / "otel_wandb" / "instrument"
    code = "".join(path.read_text() for path in room.glob("*.py"))
    named = set(re.findall(r"`((?:gradio|streamlit|prediction|rpc)\.[a-z_.]+)`", PAGE))
    assert len(named) > 10
    assert [name for name in sorted(named) if f'"{name}"' not in code] == []
