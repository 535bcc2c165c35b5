"""The ledger balances when it should, and not when it should not."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from otel_wandb.ledger import SIGNALS, Ledger, Line, as_received, compose, render

COUNTS = {
    ("spans", "received", ""): 100,
    ("spans", "delivered", ""): 60,
    ("spans", "sampled_out", ""): 10,
    ("spans", "rejected", "invalid_span_id"): 2,
    ("spans", "dropped", "duplicate"): 3,
    ("calls", "received", ""): 60,
    ("calls", "delivered", ""): 55,
    ("calls", "withheld", "redactor_failed"): 1,
    ("journal", "dropped", "torn_tail"): 1,
}


def example() -> Ledger:
    fronts = {("spans", "dropped", "journal_full"): 7, ("spans", "rejected", "malformed"): 1}
    return compose(COUNTS, {"spans": 25}, {"spans": 40, "log_records": 2}, 5, fronts)


def test_the_six_figures_of_a_line() -> None:
    assert example().lines["spans"] == Line(
        received=148,
        delivered=60,
        sampled_out=10,
        rejected={"invalid_span_id": 2, "malformed": 1},
        dropped={"duplicate": 3, "journal_full": 7},
        waiting=65,
    )
    assert example().lines["log_records"] == Line(received=2, waiting=2)
    assert example().lines["calls"] == Line(received=60, delivered=55, waiting=5)
    assert example().lines["rows"] == Line()
    assert tuple(example().lines) == SIGNALS
    assert example().balanced
    assert example().imbalance() == {}


def test_what_is_no_part_of_the_balance_stands_beside_it() -> None:
    assert example().beside == {
        ("calls", "withheld", "redactor_failed"): 1,
        ("journal", "dropped", "torn_tail"): 1,
    }


def test_each_figure_can_unbalance_its_line() -> None:
    for key, n in COUNTS.items():
        if key[:2] in (("calls", "withheld"), ("journal", "dropped")):
            continue
        changed = compose({**COUNTS, key: n + 1}, {"spans": 25}, {}, 5, {})
        sign = 1 if key[1] == "received" else -1
        assert changed.imbalance() == {key[0]: sign}
        assert not changed.balanced
        assert not changed.lines[key[0]].balanced
    assert compose(COUNTS, {"spans": 24}, {}, 5, {}).imbalance() == {"spans": 1}
    assert compose(COUNTS, {"spans": 25}, {}, 4, {}).imbalance() == {"calls": 1}
    assert compose(COUNTS, {}, {}, 6, {}).imbalance() == {"spans": 25, "calls": -1}


def test_a_front_that_counts_its_refusals_as_received_counts_the_same() -> None:
    refused = {("spans", "dropped", "disk_full"): 4, ("spans", "sdk_lost", ""): 2}
    with_received = {**refused, ("spans", "received", ""): 4}
    assert as_received(refused) == as_received(with_received) == with_received
    assert compose({}, {}, {}, 0, refused) == compose({}, {}, {}, 0, with_received)
    assert compose({}, {}, {}, 0, refused).balanced
    assert compose({}, {}, {}, 0, refused).beside == {("spans", "sdk_lost", ""): 2}


numbers = st.integers(0, 1000)


@given(
    delivered=numbers,
    sampled=numbers,
    rejected=st.dictionaries(st.sampled_from("abc"), numbers),
    dropped=st.dictionaries(st.sampled_from("abc"), numbers),
    held=numbers,
    unread=numbers,
    refused=numbers,
    lost=st.integers(-5, 5),
    signal=st.sampled_from(SIGNALS),
)
def test_the_imbalance_is_exactly_what_was_lost(
    delivered: int,
    sampled: int,
    rejected: dict[str, int],
    dropped: dict[str, int],
    held: int,
    unread: int,
    refused: int,
    lost: int,
    signal: str,
) -> None:
    received = delivered + sampled + sum(rejected.values()) + sum(dropped.values()) + held + lost
    counts = {
        (signal, "received", ""): received,
        (signal, "delivered", ""): delivered,
        (signal, "sampled_out", ""): sampled,
        **{(signal, "rejected", reason): n for reason, n in rejected.items()},
        **{(signal, "dropped", reason): n for reason, n in dropped.items()},
    }
    fronts = {(signal, "dropped", "journal_full"): refused}
    waiting, outbox = ({}, held) if signal == "calls" else ({signal: held}, 0)
    ledger = compose(counts, waiting, {signal: unread}, outbox, fronts)
    assert ledger.imbalance() == ({signal: lost} if lost else {})
    assert ledger.lines[signal].received == received + unread + refused


def test_json_is_plain_and_in_a_fixed_order() -> None:
    document = example().to_json()
    assert list(document) == [*SIGNALS, "beside", "mapping_warnings"]
    assert json.loads(json.dumps(document)) == document
    assert document["spans"] == snapshot(
        {
            "received": 148,
            "delivered": 60,
            "sampled_out": 10,
            "rejected": {"invalid_span_id": 2, "malformed": 1},
            "dropped": {"duplicate": 3, "journal_full": 7},
            "waiting": 65,
            "balanced": True,
        }
    )
    assert document["beside"] == snapshot(
        [
            {"signal": "calls", "outcome": "withheld", "reason": "redactor_failed", "n": 1},
            {"signal": "journal", "outcome": "dropped", "reason": "torn_tail", "n": 1},
        ]
    )


def test_the_table_reads_well() -> None:
    assert render(example()) == snapshot("""\
               received  delivered  sampled out  rejected  dropped  waiting
spans               148         60           10         3       10       65
log_records           2          0            0         0        0        2
metric_points         0          0            0         0        0        0
calls                60         55            0         0        0        5
feedback              0          0            0         0        0        0
rows                  0          0            0         0        0        0
tables                0          0            0         0        0        0
alerts                0          0            0         0        0        0
spans rejected: 2 invalid_span_id
spans rejected: 1 malformed
spans dropped: 3 duplicate
spans dropped: 7 journal_full
beside the balance: 1 calls withheld (redactor_failed)
beside the balance: 1 journal dropped (torn_tail)\
""")


def test_the_table_warns_of_an_imbalance() -> None:
    assert render(compose({("spans", "received", ""): 12345}, {"spans": 5}, {}, 1, {})) == snapshot("""\
               received  delivered  sampled out  rejected  dropped  waiting
spans            12,345          0            0         0        0        5  does not balance: +12,340
log_records           0          0            0         0        0        0
metric_points         0          0            0         0        0        0
calls                 0          0            0         0        0        1  does not balance: -1
feedback              0          0            0         0        0        0
rows                  0          0            0         0        0        0
tables                0          0            0         0        0        0
alerts                0          0            0         0        0        0\
""")
