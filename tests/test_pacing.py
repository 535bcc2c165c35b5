"""Waits grow, are spread, and obey the server."""

from __future__ import annotations

import random

import pytest

from otel_wandb.delivery.pacing import Backoff, Pace, read_retry_after


def test_waits_double_up_to_the_most_and_are_spread_over_their_upper_half() -> None:
    backoff = Backoff(Pace(first_s=1.0, most_s=300.0), "bridge/1")
    for whole_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]:
        assert whole_s / 2 <= backoff.next_s() <= whole_s
    backoff.reset()
    assert backoff.next_s() <= 1


def test_a_wait_is_no_shorter_than_asked_for() -> None:
    backoff = Backoff(Pace(), "bridge/1")
    assert backoff.next_s(30.0) == 30.0
    assert backoff.next_s(0.0) >= 1.0


def test_two_bridges_spread_differently_and_the_global_generator_is_left_alone() -> None:
    random.seed(1)
    before = random.getstate()
    waits = [[Backoff(Pace(), name).next_s() for _ in range(2)] for name in ("a/1", "b/1", "a/1")]
    assert waits[0] == waits[2] != waits[1]
    assert random.getstate() == before


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1000000"}, 3600.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:27:30 GMT"},
            30.0,
        ),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:29:00 GMT"},
            0.0,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert read_retry_after(headers) == wait_s
