"""What is worth telling people: from a rule over charts, or from a view."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["info", "warn", "error"]
State: TypeAlias = Literal["firing", "recovered"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something began to be wrong, or is right again.

    `name` is an identifier that stays the same, and so does `title`, which holds no numbers: W&B tells
    repeats by it. `time_s` is the end of the interval (Unix time) whose row is the `step` of `run`.
    """

    name: str
    title: str
    level: Level
    text: str
    state: State
    service: str
    time_s: float
    step: int
    run: str

    @property
    def headline(self) -> str:
        """The title as it is sent; that of a recovery is another one."""
        return self.title if self.state == "firing" else f"Recovered: {self.title}"

    def uid(self, *place: str) -> str:
        """32 hex digits that name the finding in a place, such as a server and a project: equal on replay."""
        facts = (*place, self.service, self.run, str(self.step), self.name, self.state)
        return hashlib.blake2b("\0".join(facts).encode(errors="surrogatepass"), digest_size=16).hexdigest()
