"""Regular expressions for the keys of all subjects of a chart, known or not.

They do not look ahead, so that RE2, JavaScript and Python read them alike: W&B does not say which of these
it uses for panels.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from otel_wandb.metrics.keys import make_key


def make_pattern(
    chart: str, whole: Iterable[str] = (), *, begins: str = "", not_begins: Collection[str] = ()
) -> str:
    """What matches the keys that `section/{}_field` stands for, and none of the keys in `whole`.

    The name begins as `begins` says, and goes on with none of `not_begins`.
    """
    section, _, name = chart.partition("/")
    head, end = f"{section}/{begins}", name.partition("{}")[2]
    least = len(head) + len(end)
    stems = {
        key[len(head) : len(key) - len(end)]
        for key in whole
        if len(key) > least and key.startswith(head) and key.endswith(end)
    }
    return f"^{head}{_anything_but(stems, set(not_begins))}{end}$"


def label_prefix(attribute: str) -> str:
    """What the names of all values of an attribute begin with, in the keys of its charts."""
    return make_key("cost", f"{attribute}_x").partition("/")[2][:-1]


def match(pattern: str, keys: Iterable[str]) -> list[str]:
    """The keys that the pattern matches, in their order."""
    return [key for key in keys if re.search(pattern, key)]


def _anything_but(words: set[str], beginnings: set[str]) -> str:
    """What matches each text but the empty one, these words, and what begins in one of these ways."""
    if not words and not beginnings:
        return ".+"
    heads = sorted({text[0] for text in words | beginnings})
    ways = []
    for head in heads:
        if head in beginnings:
            continue
        further = {text[1:] for text in words if text[0] == head}
        closed = {text[1:] for text in beginnings if text[0] == head}
        ways.append(head + _anything_but(further - {""}, closed))
        if "" not in further:
            ways.append(head)
    ways.append(f"[^{''.join(heads)}].*")
    return f"(?:{'|'.join(ways)})"
