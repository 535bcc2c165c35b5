"""Which event made a message of a chat: with whatever applications and browsers do to chats."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags

from otel_wandb.instrument import gradio_memory
from otel_wandb.instrument.gradio_memory import MAX_PLACES, UNKNOWN, Authors


def span(number: int) -> SpanContext:
    return SpanContext(1, number, is_remote=False, trace_flags=TraceFlags(1))


def chat_of(*words: str) -> list[dict[str, Any]]:
    """Messages of user and assistant by turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": word} for i, word in enumerate(words)]


class Chat:
    """One chat of one session, and what is known of its authors."""

    def __init__(self) -> None:
        self.authors = Authors()

    def show(self, value: object, number: int, given: object = UNKNOWN) -> None:
        self.authors.note("s", 1, value, span(number), is_chat=True, given=given)

    def find(self, index: object = None, value: object = UNKNOWN) -> int | None:
        found = self.authors.find("s", 1, index, value)
        return found.span_id if found is not None else None


def test_a_message_is_of_the_event_that_added_it() -> None:
    chat = Chat()
    chat.show(chat_of("q"), 1)
    chat.show(chat_of("q", "a"), 2)
    chat.show(chat_of("q", "a"), 3)  # shows the same again
    chat.show(chat_of("q", "a", "q2", "a2"), 4)
    places: list[object] = [0, 1, 2, 3, 4, -1, None, "?", True, []]
    assert [chat.find(place) for place in places] == [1, 2, 4, 4, None, None, 4, 4, 4, 4]
    chat.show(chat_of("q", "b"), 5)  # asked again: the rest is gone
    assert [chat.find(index) for index in (0, 1, 3)] == [1, 5, None]
    assert chat.find(3, ["a2"]) == 4  # a like of it was on its way
    assert chat.authors.find("other", 1) is None


def test_what_the_browser_cleared_is_made_again() -> None:
    chat = Chat()
    chat.show(chat_of("q", "a"), 1, [])
    chat.show(chat_of("q"), 2, [])
    chat.show(chat_of("q", "a"), 2)
    assert [chat.find(index, word) for index, word in enumerate("qa")] == [2, 2]


def test_what_nobody_made_is_nobody_s() -> None:
    chat = Chat()
    chat.show(chat_of("", "welcome", "q"), 1, chat_of("", "welcome"))
    assert [chat.find(index) for index in range(3)] == [None, None, 1]


def test_two_events_at_a_time_keep_their_answers() -> None:
    chat = Chat()
    shown = chat_of("q", "a", "r")
    for words, number in (("x", 1), ("y", 2), ("x x", 1), ("y y", 2)):
        chat.show([*shown, {"role": "assistant", "content": words}], number, shown)
    assert [chat.find(3, [words]) for words in ("x", "x x", "y", "y y", "else")] == [1, 1, 2, 2, 2]


def test_pairs_are_two_messages() -> None:
    chat = Chat()
    chat.show([["q", None]], 1)
    chat.show([["q", "a"]], 2)
    chat.show([["q", "a"], ["r", "b"]], 3)
    places: list[object] = [[0, 0], [0, 1], (1, 0), [1, 1], 0, 1, [2, 1]]
    assert [chat.find(place) for place in places] == [1, 2, 3, 3, 2, 3, None]
    chat.show([], 4)
    chat.show([["r", "b"]], 4)
    assert (chat.find([1, 1], "b"), chat.find([0, 1], "b"), chat.find([0, 1], "a")) == (3, 4, 2)


@pytest.mark.parametrize(
    ("sent", "liked"),
    [
        ("a", ["a"]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], ["a", "b"]),
        (
            {"file": {"path": "/x", "url": None}, "alt_text": None},
            [{"component": "image", "value": {"path": "/x"}}],
        ),
        (
            {"component": "plot", "value": {"n": 1.0}, "props": {"a": 1}},
            [{"component": "plot", "value": {"n": 1}}],
        ),
    ],
)
def test_what_the_browser_likes_is_what_the_server_sent(sent: object, liked: object) -> None:
    chat = Chat()
    chat.show([{"role": "assistant", "content": sent}], 1)
    chat.show([{"role": "assistant", "content": "else"}], 2)
    assert (chat.find(0, liked), chat.find(0, ["else"]), chat.find(0, ["neither"])) == (1, 2, 2)


OPERATIONS = st.sampled_from(["append", "retry", "undo", "drop", "clear", "sync", "stream", "clear there"])


@settings(max_examples=200)
@given(st.lists(st.tuples(OPERATIONS, st.booleans()), max_size=40))
def test_every_message_ever_shown_keeps_its_maker(steps: list[tuple[str, bool]]) -> None:
    """Whatever is done, as long as no two messages say the same; the server may know what browsers show."""
    chat, words = Chat(), itertools.count()
    shown: list[tuple[str, int]] = []
    ever: dict[tuple[int, str], int] = {}

    def say(number: int) -> tuple[str, int]:
        return f"{next(words)}", number

    def send(number: int, before: list[tuple[str, int]], is_told: bool) -> None:
        told, known = ([{"role": "user", "content": word} for word, _ in each] for each in (shown, before))
        chat.show(told, number, known if is_told else UNKNOWN)
        ever.update({(index, word): maker for index, (word, maker) in enumerate(shown)})

    for number, (step, is_told) in enumerate(steps, 1):
        before = shown
        if step == "clear there":
            shown = []
            continue
        rounds = 3 if step == "stream" else 1
        for turn in range(rounds):
            shown = {
                "append": [*shown, say(number), say(number)],
                "retry": [*shown[:-1], say(number)],
                "undo": shown[:-2],
                "drop": [*shown[2:], say(number)],
                "clear": [],
                "sync": shown,
                "stream": [*before, say(number)],
            }[step]
            send(number, before, is_told and turn == 0)
    assert {at: chat.find(at[0], at[1]) for at in ever} == ever


def test_any_other_component_is_of_the_last_event_that_showed_the_value() -> None:
    authors = Authors()
    for number in (1, 2):
        authors.note("s", 1, "same", span(number))
    assert authors.find("s", 1) == span(2)
    authors.note("s", 2, {"headers": ["n"], "data": [[1.0]]}, span(3))
    table = {"data": [[1]], "headers": ["n"], "metadata": None}
    assert authors.find_shown("s", [(1, "same"), (2, table)]) == span(3)
    authors.note("s", 2, {"headers": ["n"], "data": [[2.0]]}, span(4))
    assert authors.find_shown("s", [(1, "other"), (2, table)]) == span(3)  # the flag was on its way
    assert authors.find_shown("s", [(1, "same"), (2, "unlike")]) == span(2)
    assert authors.find_shown("s", [(1, "other"), (2, "unlike")]) == span(4)
    assert authors.find_shown("s", [(3, "same")]) is None


def test_without_a_session_nothing_is_remembered() -> None:
    authors = Authors()
    authors.note("", 1, "x", span(1))
    assert authors.find("", 1) is None


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    authors = Authors()
    for number in range(MAX_PLACES + 5):
        authors.note(f"s{number}", 1, "x", span(number + 1))
    assert authors.find("s4", 1) is None
    assert authors.find_shown("s4", [(1, "x")]) is None
    assert authors.find("s5", 1) == span(6)
    monkeypatch.setattr(gradio_memory, "MAX_MESSAGES", 1000)
    long = chat_of(*(f"{number}" for number in range(500)))
    for number in (1, 2):
        authors.note(f"long {number}", 1, long, span(number), is_chat=True)
    assert authors.find(f"s{MAX_PLACES + 4}", 1) is None
    assert authors.find("long 1", 1) is None
    assert authors.find("long 2", 1, 0, ["0"]) == span(2)
