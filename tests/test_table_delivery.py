"""Tables of rows to W&B with the real client: whole and once, and never at the cost of a row."""

from __future__ import annotations

import base64
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from otel_wandb.tables.columns import REQUEST_COLUMNS, RequestRow, encode_points, encode_requests
from tests.peers.environments import CHECKOUT
from tests.peers.wandb import WandbPeer
from tests.rowhouse import BRISK, PATIENCE_S, RowHouse, values_of
from tests.test_wandb_delivery import SEED, running, wait_until_delivered, wandb_processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the real client waits for what it waits for

POINTS: Final = encode_points(
    [["2026-11-25T00:01:00.000000Z", None, "p95", 12.5, 12.0, "f" * 32, "a" * 16]]
).body


def png(shade: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), (shade, 0, 0)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def request(number: int, **changes: Any) -> RequestRow:
    row = RequestRow(
        "2026-11-25T00:00:30.000000Z",
        "POST /chat",
        f"what is {number}?",
        None,
        f"{number} is a number",
        0.5,
        None,
        100 + number,
        10,
        0.001 * number,
        12.5,
        "ok",
        None,
        f"{number:032x}",
        f"{number:016x}",
        "ann",
        None,
    )
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def requests(*numbers: int, image: str = "") -> bytes:
    return encode_requests([(request(number), image, 2.0) for number in numbers]).body


@pytest.fixture
def house(wandb_peer: WandbPeer, tmp_path: Path) -> Iterator[RowHouse]:
    house = RowHouse(wandb_peer, tmp_path)
    yield house
    house.close()


def expected(house: RowHouse, stored: bytes) -> dict[str, Any]:
    """A stored table as W&B should have it."""
    table = json.loads(stored)
    page = f"{house.peer.url}/team/rag/r/call/"
    kinds = [kind for _, kind in table["columns"]]
    rows = [
        [page + cell if kind == "call" else cell for kind, cell in zip(kinds, row, strict=True)]
        for row in table["rows"]
    ]
    return {"columns": [name for name, _ in table["columns"]], "data": rows}


def assert_arrived(house: RowHouse, step: int, tables: dict[str, bytes], *, run: str = "run-1") -> None:
    """The row refers to these tables, in the artifact and in the file of the run."""
    (row,) = [row for row in house.peer.history(run) if row["_step"] == step]
    for name, stored in tables.items():
        value, wanted = row[name], expected(house, stored)
        artifact = house.peer.table(value)
        assert {key: artifact[key] for key in ("columns", "data")} == wanted
        file = house.peer.file(run, value["path"])
        assert file is not None
        assert json.loads(file) == wanted
        assert value["nrows"] == len(wanted["data"])


def committed(peer: WandbPeer) -> list[tuple[str, int]]:
    return [(made["name"], made["version"]) for made in peer.artifacts() if made["state"] == "COMMITTED"]


def test_tables_arrive_with_their_row_and_can_be_read_back(house: RowHouse) -> None:
    first, second = requests(1, 2), requests(3)
    house.queue([0, 1])
    house.queue([2], tables={"requests": first, "slow_requests": POINTS})
    house.queue([3])
    house.queue([4], tables={"requests": second})
    house.deliver()
    house.assert_each_once(range(5))
    assert_arrived(house, 2, {"requests": first, "slow_requests": POINTS})
    assert_arrived(house, 4, {"requests": second})
    assert committed(house.peer) == [
        ("run-run-1-requests", 0),
        ("run-run-1-slow_requests", 0),
        ("run-run-1-requests", 1),
    ]
    assert house.counts("tables") == {("tables", "received", ""): 3, ("tables", "delivered", ""): 3}


def test_columns_have_types_whatever_is_in_them(house: RowHouse) -> None:
    empty = [(request(1, query=None, answer=None, confidence=None, cost_usd=None, user=None), "", 1.0)]
    for step, rows in enumerate([empty, [(request(2), png(9), 1.0)]]):
        house.queue([step], tables={"requests": encode_requests(rows).body})
    house.deliver()
    rows_of = [house.peer.table(row["requests"]) for row in house.peer.history("run-1")]
    types = [
        {
            name: told["params"]["allowed_types"]
            for name, told in table["column_types"]["params"]["type_map"].items()
        }
        for table in rows_of
    ]
    for column in REQUEST_COLUMNS:
        kind = {"text": "string", "call": "string", "number": "number", "image": "image-file"}[column.kind]
        assert [{one["wb_type"] for one in told[column.name]} for told in types] == [{"none", kind}] * 2


def test_an_image_is_one_and_what_is_none_costs_only_itself(house: RowHouse) -> None:
    broken = "data:image/png;base64," + base64.b64encode(b"not an image").decode()
    rows = [(request(i, image_note="image/png"), image, 1.0) for i, image in enumerate([png(1), broken, ""])]
    house.queue([0], tables={"requests": encode_requests(rows).body})
    house.deliver()
    (row,) = house.peer.history("run-1")
    table = house.peer.table(row["requests"])
    images = [cells[table["columns"].index("image")] for cells in table["data"]]
    assert [image and (image["_type"], image["width"], image["height"]) for image in images] == [
        ("image-file", 3, 2),
        None,
        None,
    ]
    base = row["requests"]["artifact_path"].rpartition("/")[0]
    assert house.peer.client_artifact(f"{base}/{images[0]['path']}") == base64.b64decode(png(1).split(",")[1])


@pytest.mark.parametrize(
    "fault", ["503:count=2", "429:count=1,retry_after=1", "reset:count=2", "slow:delay=0.5"]
)
def test_what_passes_costs_no_table(house: RowHouse, fault: str) -> None:
    house.peer.faults(f"{fault},path=storage")
    table = requests(1)
    with running(house.delivery()):
        house.queue([0], tables={"requests": table})
        house.queue([1])
        wait_until_delivered(house)
    house.assert_each_once([0, 1])
    assert_arrived(house, 0, {"requests": table})
    assert len(committed(house.peer)) == 1


def test_a_table_that_w_and_b_does_not_take_costs_no_row(house: RowHouse) -> None:
    house.peer.faults("413:path=storage/artifact")
    house.queue([0], tables={"requests": requests(1)})
    house.queue([1])
    house.deliver()
    house.assert_each_once([0, 1])
    assert "requests" not in house.peer.history("run-1")[0]
    assert house.counts("tables")["tables", "rejected", "not_uploaded"] == 1


def test_a_table_that_cannot_be_uploaded_is_waited_for_and_then_given_up(house: RowHouse) -> None:
    house.peer.faults("hang:path=storage/artifact")
    house.queue([0], tables={"requests": requests(1)})
    house.queue([1])
    timing = replace(BRISK, finish_timeout_s=2.0, table_patience_s=4.0)
    house.deliver(house.delivery(timing=timing))
    house.assert_each_once([0, 1])
    assert house.counts("tables")["tables", "rejected", "not_uploaded"] == 1


def test_a_table_that_wandb_cannot_make_costs_no_row(house: RowHouse) -> None:
    bad = json.dumps({"columns": [["n", "number"]], "rows": [["a word"]]}).encode()
    house.queue([0], tables={"requests": bad, "slow_requests": POINTS})
    house.deliver()
    house.assert_each_once([0])
    assert "requests" not in house.peer.history("run-1")[0]
    assert house.counts("tables")["tables", "rejected", "malformed"] == 2
    assert_arrived(house, 0, {"slow_requests": POINTS})


def test_a_file_that_a_row_lacks_is_sent_again(house: RowHouse) -> None:
    table = requests(1)
    house.peer.faults("503:path=storage/run")
    with running(house.delivery()) as delivery:
        house.queue([0], tables={"requests": table})
        deadline_s = time.monotonic() + PATIENCE_S
        while not house.peer.steps("run-1"):  # the row is there before the run's own copy of its table
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        for process in wandb_processes():
            process.kill()
        assert house.store.reader.waiting_rows() == 1
        house.peer.faults()
        wait_until_delivered(house)
        assert delivery.state()["problems"] == []
    house.assert_each_once([0])
    assert_arrived(house, 0, {"requests": table})
    assert len(committed(house.peer)) == 1


def test_a_file_that_never_arrives_is_given_up(house: RowHouse) -> None:
    house.peer.faults("413:path=storage/run")
    house.queue([0], tables={"requests": requests(1)})
    house.queue([1])
    house.deliver(house.delivery(timing=replace(BRISK, patience_s=2.0, settle_s=1.0)))
    house.assert_each_once([0, 1])
    assert house.counts("tables")["tables", "rejected", "file_missing"] == 1


@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.timeout(900))])
def test_sigkills_lose_and_double_no_table(wandb_peer: WandbPeer, tmp_path: Path, kills: int) -> None:
    dice = random.Random(SEED)
    command = [sys.executable, "-m", "tests.test_table_delivery", str(tmp_path), wandb_peer.url]
    for number in range(kills):
        before = len(wandb_peer.requests("storage"))
        process = subprocess.Popen([*command, "1000000"], cwd=CHECKOUT)
        deadline_s = time.monotonic() + PATIENCE_S
        while number % 2 and len(wandb_peer.requests("storage")) == before:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        time.sleep(dice.uniform(0.0, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run([*command, "0"], cwd=CHECKOUT, timeout=450, check=False).returncode == 0
    house = RowHouse(wandb_peer, tmp_path)
    rows = len(list(house.store.reader.rows(1)))
    assert rows >= kills
    house.assert_each_once(range(rows))
    for step in range(0, rows, 3):
        assert_arrived(house, step, tables_of(step))
    made = [name for name, _ in committed(wandb_peer)]
    assert len(made) == len(set(committed(wandb_peer))) == len(range(0, rows, 3))
    assert house.counts("tables") == {
        ("tables", "received", ""): len(made),
        ("tables", "delivered", ""): len(made),
    }
    house.close()


def tables_of(step: int) -> dict[str, bytes]:
    return {"requests": requests(*range(step, step + 3))} if step % 3 == 0 else {}


def main() -> None:
    """Add rows up to the last one, every third with a table, and deliver them."""
    directory, url, last = sys.argv[1:]
    peer = WandbPeer()
    peer.port = int(url.rpartition(":")[2])
    house = RowHouse(peer, Path(directory))
    delivery = house.delivery()
    house.queue([])
    if last == "0":
        assert delivery.deliver_due(deadline_s=400.0).waiting == 0
    else:
        threading.Thread(target=delivery.run, args=(threading.Event(),), daemon=True).start()
    for step in range(sum(1 for _ in house.store.reader.rows(1)), int(last)):
        house.queue([step], values=values_of(step), tables=tables_of(step))
        delivery.wake()
        time.sleep(0.5)
    house.close()


if __name__ == "__main__":
    main()
