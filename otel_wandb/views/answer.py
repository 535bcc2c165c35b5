"""What somebody says to an alarm of a view: that the reference holds, or that what came is another one."""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from otel_wandb.alerts.wording import tell_time
from otel_wandb.metrics.intervals import SECOND_NS
from otel_wandb.views.machine import Group, Look, Machine, Outcome
from otel_wandb.views.telling import tell_fired

Action: TypeAlias = Literal["keep", "accept"]
"""`keep`: the reference holds. `accept`: what came since the change is the reference from now on."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to the alarm of a group of a view, for the first interval that ends after `after_ns`.

    `series` is the digest of whose view it is, `state` the name of what the view knows in the store.
    """

    series: str
    state: str
    group: Group
    action: Action
    after_ns: int

    @property
    def id(self) -> str:
        """Sixteen hex digits: the same answer twice is one."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()

    @property
    def order(self) -> tuple[int, str]:
        """What several are sorted by."""
        return self.after_ns, self.id


@runtime_checkable
class Answerable(Machine, Protocol):
    """A view whose alarms can be answered."""

    def list_alarms(self) -> dict[Group, int]:
        """The groups whose alarm is not over, and since when (Unix time in ns)."""
        ...

    def answer(self, action: Action, group: Group, look: Look) -> Outcome:
        """Do as somebody said, before the interval is taken.

        Raises:
            KeyError: nothing is known of that group.
            ValueError: it cannot be done; a sentence says why.
        """
        ...


def tell_answered(subject: str, action: Action, *, fired_ns: int, look: Look) -> str:
    """What is told of an alarm that ends because of an answer."""
    fired = tell_fired(fired_ns / SECOND_NS, look.time_s)
    if action == "keep":
        return f"{subject}: somebody decided that the reference holds; evidence begins anew. {fired}"
    return (
        f"{subject}: somebody accepted the change. What came since then is the reference, and more is learnt "
        f"until it is complete. {fired}"
    )


def tell_alarm(subject: str, fired_ns: int) -> str:
    """An alarm that lasts, in a few words."""
    return f"{subject}, since {tell_time(fired_ns / SECOND_NS)}"
