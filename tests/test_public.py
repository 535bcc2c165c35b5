"""What users may import, what the front may import, and that imports have no circles."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import otel_wandb

PACKAGE = Path(otel_wandb.__file__).parent

_NEW_MODULES = """
import json, sys
import opentelemetry.sdk.trace.export, opentelemetry.sdk.resources
before = set(sys.modules)
import otel_wandb.ingest.sdk
print(json.dumps(sorted(set(sys.modules) - before)))
"""

PURE = ("alerts", "records", "conventions", "traces", "marks")
"""Rooms that do no I/O and know no SDK and no W&B (design: rules of direction)."""
FORBIDDEN_IN_PURE = (
    "opentelemetry",
    "wandb",
    "weave",
    "httpx",
    "sqlite3",
    "socket",
    "os",
    "pathlib",
    "threading",
)


def test_the_public_names_are_these() -> None:
    assert sorted(otel_wandb.__all__) == [
        "WandbMetricExporter",
        "WeaveLogExporter",
        "WeaveSpanExporter",
        "__version__",
        "configure",
        "log_prediction",
        "record_feedback",
    ]
    for name in otel_wandb.__all__:
        assert getattr(otel_wandb, name) is not None


def test_the_front_imports_little() -> None:
    output = subprocess.run(
        [sys.executable, "-c", _NEW_MODULES], check=True, capture_output=True, text=True
    ).stdout
    new = set(json.loads(output))
    packages = {name.partition(".")[0] for name in new} - sys.stdlib_module_names
    assert packages <= {"otel_wandb", "msgspec", "google_crc32c", "_cffi_backend"}
    heavy = {
        "sqlite3",
        "asyncio",
        "ssl",
        "http",
        "email",
        "subprocess",
        "multiprocessing",
        "tomllib",
        "difflib",
    }
    assert not {name.partition(".")[0] for name in new} & heavy
    rooms = {name.split(".")[1] for name in new if name.startswith("otel_wandb.")}
    assert not rooms & {
        "bridge",
        "store",
        "delivery",
        "conventions",
        "traces",
        "pipeline",
        "cli",
        "redaction",
    }


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import otel_wandb; print(*(set(sys.modules) - before))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {name for name in output.split() if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "otel_wandb"
    }


def test_pure_rooms_do_no_io() -> None:
    for module, imported in _imports():
        if module.split(".")[1] in PURE:
            roots = {name.partition(".")[0] for name in imported}
            assert not roots & set(FORBIDDEN_IN_PURE), (module, roots)


def test_only_the_delivery_room_talks_to_weights_and_biases() -> None:
    for module, imported in _imports():
        if module.split(".")[1] != "delivery":
            roots = {name.partition(".")[0] for name in imported}
            assert not roots & {"wandb", "weave", "httpx"}, (module, roots)


def test_there_are_no_import_circles() -> None:
    graph = {
        module: {name for name in imported if name.startswith("otel_wandb.")}
        for module, imported in _imports()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for name in graph.get(module, ()):
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def _imports() -> Iterator[tuple[str, set[str]]]:
    """Each module with what it imports when it is imported (not inside functions, not for typing only)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if module == "otel_wandb":
            continue
        names: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names}
                existing = {name for name in submodules if _is_module(name)}
                names.update(existing or {node.module})
        yield module, names


def _is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()
