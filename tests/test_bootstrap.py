"""Which instrumentations fit: one for each package, none that doubles; and installing them from an index."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from opentelemetry.instrumentation import bootstrap_gen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from otel_wandb.bootstrap import CORE, Finding, find_fitting
from otel_wandb.bootstrap_table import BRANDS, CONTRIB, SUBJECTS, Brand

HERE = {CORE: "0.66b2"}
THREADS = Finding(
    "threads",
    "",
    "missing",
    ("opentelemetry-instrumentation-threading",),
    "opentelemetry-instrumentation-threading==0.66b2",
)


def find(prefer: Brand = "opentelemetry", **installed: str) -> list[Finding]:
    """What fits, but for that of threads, which is always there."""
    names = {name.replace("_", "-"): version for name, version in installed.items()}
    found = find_fitting({**HERE, **names}, prefer=prefer)
    assert found[-1] == THREADS
    return found[:-1]


def test_a_package_gets_the_version_that_fits_ours() -> None:
    assert find(redis="5.0") == [
        Finding(
            "Redis",
            "5.0",
            "missing",
            ("opentelemetry-instrumentation-redis",),
            "opentelemetry-instrumentation-redis==0.66b2",
        )
    ]


@pytest.mark.parametrize(
    ("prefer", "chosen"),
    [
        ("opentelemetry", "opentelemetry-instrumentation-genai-openai"),
        ("openinference", "openinference-instrumentation-openai"),
        ("openllmetry", "opentelemetry-instrumentation-openai"),
    ],
)
def test_of_several_that_do_the_same_one_is_chosen(prefer: Brand, chosen: str) -> None:
    (found,) = find(prefer, openai="2.0")
    assert (found.state, found.packages, found.requirement) == ("missing", (chosen,), chosen)
    all_of_them = {
        offer.package for subject in SUBJECTS if subject.name == "openai" for offer in subject.offers
    }
    assert {chosen, *found.passed_over} == all_of_them
    assert "instead of" in found.render()


def test_what_is_there_stays_whatever_is_preferred() -> None:
    (found,) = find("opentelemetry", openai="2.0", openinference_instrumentation_openai="0.1")
    assert (found.state, found.packages) == ("there", ("openinference-instrumentation-openai",))
    assert found.render() == "= openai 2.0                   openinference-instrumentation-openai is there"


def test_two_that_do_the_same_are_told() -> None:
    (found,) = find(
        anthropic="1.0",
        openinference_instrumentation_anthropic="3",
        opentelemetry_instrumentation_anthropic="0.62",
    )
    assert found.state == "doubled"
    assert found.render().startswith("! anthropic 1.0")
    assert "tell the same twice" in found.render()


def test_what_another_one_covers_is_not_installed_as_well() -> None:
    names = [
        found.subject
        for found in find(fastapi="0.120", starlette="1.0", asgiref="3.8", requests="2", urllib3="2")
    ]
    assert names == ["FastAPI", "requests"]
    assert [found.subject for found in find(starlette="1.0", asgiref="3.8")] == ["Starlette"]
    assert [found.subject for found in find(asgiref="3.8")] == ["ASGI"]


def test_a_version_that_it_is_not_for_is_left_out() -> None:
    (found,) = find(celery="3.1")
    assert (found.state, found.requirement) == ("unfit", "")
    assert found.render().endswith("it is for celery<6.0,>=4.0, and 3.1 is installed")
    (found,) = find(psycopg2_binary="2.9")  # one of two packages that it is for
    assert found.state == "missing"


def test_names_are_canonical_and_known_to_opentelemetry_where_they_are_its_own() -> None:
    names = [offer.package for subject in SUBJECTS for offer in subject.offers]
    names += [name for subject in SUBJECTS for name in (*subject.libraries, *subject.unless)]
    assert all(canonicalize_name(name) == name for name in names)
    assert {offer.brand for subject in SUBJECTS for offer in subject.offers} == set(BRANDS)
    known = {
        canonicalize_name(Requirement(str(row["instrumentation"])).name) for row in bootstrap_gen.libraries
    }
    known |= {canonicalize_name(Requirement(name).name) for name in bootstrap_gen.default_instrumentations}
    assert known >= CONTRIB


def make_wheel(index: Path, name: str, version: str) -> None:
    """A wheel with nothing in it."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digests[path]},{len(text)}\n" for path, text in files.items())
    files[f"{stem}.dist-info/RECORD"] = record + f"{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(index / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


class Environment:
    """A virtual environment with fakes of some packages, which sees ours, and a local index."""

    def __init__(self, directory: Path) -> None:
        self.index = directory / "index"
        self.index.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory / "venv")], check=True)
        self.python = directory / "venv" / "bin" / "python"
        self.environ = {
            **os.environ,
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-m", *arguments]
        return subprocess.run(
            command, check=False, env=self.environ, input=text, capture_output=True, text=True, timeout=100
        )

    def installed(self) -> set[str]:
        """What was put into the environment itself."""
        (site,) = self.python.parents[1].glob("lib/python*/site-packages")
        return {path.name.partition("-")[0].replace("_", "-") for path in site.glob("*.dist-info")}


@pytest.mark.slow
def test_they_are_listed_and_then_installed_from_an_index(tmp_path: Path) -> None:
    core = find_core_version()
    here = Environment(tmp_path)
    fakes = {"redis": "5.0", "qdrant-client": "1.9", "anthropic": "1.0"}
    for name, version in fakes.items():
        make_wheel(here.index, name, version)
    done = here.run("pip", "install", "--no-deps", *fakes)
    assert done.returncode == 0, done.stderr

    listed = here.run("otel_wandb.cli", "bootstrap", "--list")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert f"+ Redis 5.0                    opentelemetry-instrumentation-redis=={core}" in lines
    assert "+ Qdrant 1.9                   opentelemetry-instrumentation-qdrant" in lines
    assert any(line.startswith("= FastAPI") for line in lines)  # of the environment that runs the tests
    assert here.installed() == fakes.keys()

    refused = here.run("otel_wandb.cli", "bootstrap", text="n\n")
    assert "Install these" in refused.stdout
    assert here.installed() == fakes.keys()

    wanted = [line.partition(" instead of ")[0].split()[-1] for line in lines if line.startswith("+")]
    assert {
        f"opentelemetry-instrumentation-{name}" for name in ("qdrant", "genai-anthropic", f"redis=={core}")
    } <= set(wanted)
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        make_wheel(here.index, name, version or "1.0")
    done = here.run("otel_wandb.cli", "bootstrap", "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    assert here.installed() == fakes.keys() | {requirement.partition("==")[0] for requirement in wanted}
    again = here.run("otel_wandb.cli", "bootstrap", "--yes")
    assert again.stdout.splitlines()[-1] == "There is nothing to install."


def test_what_the_index_does_not_have_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    here = Environment(tmp_path)
    done = here.run("otel_wandb.cli", "bootstrap", "--yes")
    assert done.returncode == 1
    assert "the installer ended with 1" in done.stderr
    assert here.installed() == set()


def find_core_version() -> str:
    from importlib.metadata import version

    return version(CORE)
