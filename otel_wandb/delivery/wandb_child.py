"""The program of the process that wandb lives in. `wandb_host` starts it, and it imports nothing of ours.

It takes one JSON object a line from its standard input and answers each with one on its standard output.
When its input ends, its parent is gone: it goes at once, and takes the uploading service of wandb along, so
that no upload of it meets one of the next process. Nothing is lost by that: the store holds every row until
it was read back.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import wandb

_FINISHERS: Final = 8
_REFERENCES: Final = threading.Lock()

Message = dict[str, Any]
"""A line from the parent, or an answer; only this process and `wandb_host` see them."""

_IMAGE: Final = re.compile(r"data:image/([a-z]+);base64,(.+)", re.DOTALL)


class StuckError(Exception):
    """A table cannot be uploaded now; `final`: the server does not take it."""

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


class Answer:
    """What became of rows: by their steps those that wandb does not take, those that it takes without their
    tables, and the first one that could not be logged yet.
    """

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.spoiled: dict[str, str] = {}
        self.stuck: Message | None = None


class Runs:
    """The runs that are open here, and what can be done with them."""

    def __init__(self, hello: Message) -> None:
        self._hello = hello
        self._open: dict[str, wandb.Run] = {}
        self._noting: dict[str, threading.Thread] = {}
        """What tells W&B which references a run uses."""
        self.commands: Mapping[str, Callable[[Message], Message]] = {
            "open": self._open_run,
            "log": self._log,
            "describe": self._describe,
            "finish": self._finish,
        }

    def _open_run(self, command: Message) -> Message:
        import wandb

        run = wandb.init(
            entity=command["entity"] or None,
            project=command["project"],
            id=command["id"],
            name=command["name"],
            group=command["group"] or None,
            job_type=command["job_type"] or None,
            tags=command["tags"],
            config=command["config"],
            resume="allow" if self._online else None,
            reinit="create_new",
            settings=self._settings(),
        )
        self._open[command["run"]] = run
        for axis in command["axes"]:
            run.define_metric(axis, hidden=True)  # an axis, and no chart of its own
        run.define_metric("*", step_metric=command["axes"][0])
        if self._hello["kept"]:  # the log of an offline run names the files of its tables by their paths
            files = Path(self._hello["kept"]) / f".{Path(run.settings.sync_dir).name}-files"
            os.environ["WANDB_DATA_DIR"] = str(files)
        if self._online and command["references"]:
            told = (run, command["references"])
            thread = threading.Thread(target=_use_references, args=told, daemon=True)
            self._noting[command["run"]] = thread
            thread.start()
        # After a resume, `run.step` says 0 until something is logged; this says where the server stands.
        return {"starting_step": run.starting_step, "directory": run.settings.sync_dir}

    def _log(self, command: Message) -> Message:
        run, answer = self._open[command["run"]], Answer()
        for row in command["rows"]:
            step = row["step"]
            tables = self._make_tables(row, answer)
            if row["again"]:
                for name, table in tables.items():
                    publish: Any = table.bind_to_run  # it has no types
                    publish(run, name, step)
                continue
            try:
                values = {key: _VALUES[_kind_of(value)](value) for key, value in row["values"].items()}
                told = self._commit(run, step, tables) if self._online else tables
                run.log({**values, **told, "_timestamp": row["timestamp_s"]}, step=step, commit=True)
            except StuckError as error:
                answer.stuck = {"step": step, "why": str(error), "final": error.final}
                break  # rows go in the order of their steps
            except (TypeError, ValueError) as error:  # of this row; whatever else is wrong is of the run
                answer.refused[str(step)] = str(error)
        return vars(answer)

    def _make_tables(self, row: Message, answer: Answer) -> dict[str, wandb.Table]:
        """The tables of a row; one that wandb does not take as it is costs the row nothing."""
        tables = {}
        for name, stored in row["tables"].items():
            try:
                tables[name] = _make_table(stored, row["call_page"], Path(self._hello["private"]))
            except Exception as error:  # noqa: BLE001  whatever wandb finds wrong with a cell
                answer.spoiled[str(row["step"])] = f"{name}: {type(error).__name__}: {error}"
        return tables

    def _commit(self, run: wandb.Run, step: int, tables: Mapping[str, wandb.Table]) -> Message:
        """What the row says of its tables, once the server has all that it refers to.

        `run.log` alone uploads a table in its own time, and a row may arrive whose table never does. So the
        artifact is logged first, and waited for. Raises StuckError.
        """
        told: Message = {}
        for name, table in tables.items():
            try:
                from wandb.sdk.data_types.utils import val_to_json

                told[name] = val_to_json(run, name, table, namespace=step)
            except Exception as error:  # noqa: BLE001  a full disk, or another wandb than we know
                raise StuckError(f"{name}: {type(error).__name__}: {error}", final=False) from None
        until_s = time.monotonic() + self._hello["finish_timeout_s"]
        for name, table in tables.items():
            target: Any = table._artifact_target
            try:
                target.artifact.wait(timeout=max(1, int(until_s - time.monotonic())))
            except ValueError as error:  # the server's own word
                raise StuckError(f"{name}: {error}", final=True) from None
            except Exception as error:  # noqa: BLE001  time is up, or the service is gone
                raise StuckError(f"{name}: {type(error).__name__}: {error}", final=False) from None
        return told

    def _describe(self, command: Message) -> Message:
        run = self._open[command["run"]]
        config: Any = run.config  # its methods have no types
        config.update(command["config"], allow_val_change=True)
        run.tags = tuple(command["tags"])
        return {}

    def _finish(self, command: Message) -> Message:
        until_s = time.monotonic() + self._hello["finish_timeout_s"] / 2
        for thread in [self._noting.pop(name) for name in command["runs"] if name in self._noting]:
            thread.join(max(0.0, until_s - time.monotonic()))  # a finished run uses nothing more
        runs = [run for name in command["runs"] if (run := self._open.pop(name, None)) is not None]
        with ThreadPoolExecutor(_FINISHERS) as pool:
            errors = [str(error) for error in pool.map(_finish_one, runs) if error is not None]
        return {"errors": errors}

    @property
    def _online(self) -> bool:
        return bool(self._hello["online"])

    def _settings(self) -> wandb.Settings:
        import wandb

        hello = self._hello
        own = {
            "mode": "online" if self._online else "offline",
            "root_dir": hello["directory"],
            # A second copy of the rows, of no use: they are in the store until the server has them.
            "x_skip_transaction_log": self._online,
            "x_transaction_log_flush_interval": 1.0,
            "x_file_stream_transmit_interval": hello["transmit_s"],
            "init_timeout": hello["init_timeout_s"],
            "finish_timeout": hello["finish_timeout_s"],
            "insecure_disable_ssl": not hello["verify_tls"],
        }
        if hello["proxy"]:
            own |= {"http_proxy": hello["proxy"], "https_proxy": hello["proxy"]}
        return wandb.Settings(
            program="otel-wandb",  # else the path of this file
            console="off",
            silent=True,  # not by WANDB_SILENT, which would keep even the line about a dead upload from us
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            stop_fn=lambda: None,  # else the stop button in the browser would interrupt this process
            **own,
        )


def _finish_one(run: wandb.Run) -> Exception | None:
    try:
        run.finish(exit_code=0)
    except Exception as error:  # noqa: BLE001  one run must not keep the others from finishing
        return error
    return None


def _use_references(run: wandb.Run, references: list[Message]) -> None:
    """Make an artifact of each, or find the version that is the same, and note that the run uses it."""
    for told in references:
        try:
            with _REFERENCES:  # of two at once the server would make two versions
                _use_reference(run, told)
        except Exception as error:  # noqa: BLE001  the next process that opens the run tries again
            sys.stderr.write(f"The reference {told['name']} is not noted: {error!r}\n")


def _use_reference(run: wandb.Run, told: Message) -> None:
    import wandb

    artifact = wandb.Artifact(told["name"], type=told["kind"], metadata=told["metadata"])
    with artifact.new_file(told["file"], mode="w", encoding="utf-8") as file:
        file.write(told["content"])
    run.use_artifact(artifact, aliases=["latest"])


def _make_histogram(value: Mapping[str, Any]) -> object:
    import wandb

    return wandb.Histogram(np_histogram=(value["counts"], value["edges"]))


def _make_table(stored: Message, call_page: str, folder: Path) -> wandb.Table:
    """The table as wandb has it; the types of its columns are the same whatever is in it."""
    import wandb

    types = {"text": str, "number": float, "image": wandb.Image, "call": str}
    kinds = [kind for _, kind in stored["columns"]]

    def make(kind: str, cell: Any) -> Any:
        if cell is None or kind not in ("image", "call"):
            return cell
        if kind == "image":
            return _make_image(cell, folder)
        return f"{call_page}{cell}" if call_page else ""

    return wandb.Table(
        columns=[name for name, _ in stored["columns"]],
        data=[[make(kind, cell) for kind, cell in zip(kinds, row, strict=True)] for row in stored["rows"]],
        dtype=[types[kind] for kind in kinds],
        optional=True,
    )


def _make_image(data_uri: str, folder: Path) -> object | None:
    """The image; None where it is none, or where there is no Pillow to read it."""
    import wandb

    found = _IMAGE.fullmatch(data_uri)
    try:
        content = base64.b64decode(found[2], validate=True) if found else b""
        # The name follows from the content, so that the same table has the same files whoever sends it.
        path = folder / f"{hashlib.sha256(content).hexdigest()[:20]}.{found[1] if found else ''}"
        path.write_bytes(content)
        return wandb.Image(str(path))
    except Exception:  # noqa: BLE001  whatever Pillow says; beside it stands what the image is
        return None


def _kind_of(value: object) -> str:
    return "histogram" if isinstance(value, dict) else "number"


_VALUES: Final[Mapping[str, Callable[[Any], object]]] = {
    "number": lambda value: value,
    "histogram": _make_histogram,
}
"""How a value of a stored row becomes one that wandb logs, by its kind."""


def _set_environment(hello: Message) -> None:
    # Nothing of the service's wandb: not its settings, not its mode, not its analytics with foreign headers.
    for name in [name for name in os.environ if name.startswith(("WANDB_", "OTEL_"))]:
        del os.environ[name]
    private = Path(hello["private"])
    os.environ |= {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(private / "cache"),
        "WANDB_CONFIG_DIR": str(private / "config"),
        "WANDB_DATA_DIR": str(private / "data"),
    }
    for name, value in (("WANDB_BASE_URL", hello["base_url"]), ("WANDB_API_KEY", hello["api_key"])):
        if value:
            os.environ[name] = value


def _kill_children() -> None:
    """Kill wandb's service, where the system tells who it is; elsewhere it goes by itself within a second."""
    for listing in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(OSError, ValueError):
            for pid in listing.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)


def _read_lines(stream: IO[bytes], lines: queue.Queue[Message]) -> None:
    private = ""
    for line in stream:
        message = json.loads(line)
        private = private or message["private"]  # of the first one
        lines.put(message)
    _kill_children()
    if private:
        shutil.rmtree(private, ignore_errors=True)
    os._exit(0)


def _answer(runs: Runs, command: Message) -> Message:
    try:
        return runs.commands[command["do"]](command)
    except BaseException as error:  # noqa: BLE001  the parent has to hear of it, whatever it is
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what wandb prints must not stand between the answers
    lines: queue.Queue[Message] = queue.Queue()
    threading.Thread(target=_read_lines, args=(sys.stdin.buffer, lines), daemon=True).start()
    hello = lines.get()
    _set_environment(hello)
    runs = Runs(hello)
    try:
        import wandb

        ready: Message = {"wandb": wandb.__version__}
    except Exception as error:  # noqa: BLE001  whatever a broken installation raises
        ready = {"error": f"wandb cannot be imported ({type(error).__name__}: {error})"}
    while True:
        answers.write(json.dumps(ready).encode() + b"\n")
        ready = _answer(runs, lines.get())


if __name__ == "__main__":
    main()
