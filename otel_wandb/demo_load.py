"""The requests of `otel-wandb demo`: planned by a seed, sent by a few threads, with what came back."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

USERS: Final = ("ada", "grace", "edsger", "barbara", "alan")
QUESTIONS: Final = (
    "What survives a SIGKILL of the service?",
    "How does the ledger balance?",
    "Where does the bridge keep its reading position?",
    "What happens when the disk is full?",
    "How is a trace known to be finished?",
    "Why is the journal not a database?",
    "Which settings limit the journal?",
    "How are secrets kept out of the store?",
    "What does a forked worker do?",
    "How do I replay OTLP files?",
    "What does fsync: always promise?",
    "How is a call sent to Weave only once?",
    "Which project do spans go to?",
    "What happens without an API key?",
    "Who starts the bridge, and who ends it?",
    "How long does a trace wait for late log records?",
)
_MODELS: Final = ("gpt-4o-mini",) * 7 + ("gpt-4o",) * 2 + ("o4-mini",)
_PATHS: Final = {"/chat": 45, "/chat/stream": 25, "/search": 18, "/healthz": 5, "/chat/history": 3, "bad": 4}
_THREADS: Final = 6
_TIMEOUT_S: Final = 60.0


class Planned(NamedTuple):
    """A request to be sent. `body` is None for a GET."""

    method: str
    path: str
    query: str
    body: Mapping[str, object] | None
    user: str


class Outcome(NamedTuple):
    """What became of a request. Status 0: there was no whole answer, and `problem` says why."""

    planned: Planned
    status: int
    seconds: float
    problem: str = ""

    @property
    def asks(self) -> bool:
        """Whether the service had a model to ask for it."""
        return self.planned.path.startswith("/chat") and self.status not in (404, 422)

    @property
    def retrieves(self) -> bool:
        """Whether the service had to search the documentation for it."""
        return self.asks or (self.planned.path == "/search" and self.status != 422)


def plan_requests(count: int, *, seed: int, models: Sequence[str] = _MODELS) -> list[Planned]:
    """Always the same requests for a seed: all routes, some that are refused, one that does not exist.

    Where `models` is empty, the service chooses the model.
    """
    chance = random.Random(seed)  # noqa: S311  no secret hangs on it
    paths = chance.choices(list(_PATHS), weights=list(_PATHS.values()), k=count)
    return [_plan(path, chance, models) for path in paths]


def _plan(path: str, chance: random.Random, models: Sequence[str]) -> Planned:
    user, question, top_k = chance.choice(USERS), chance.choice(QUESTIONS), chance.randint(2, 8)
    if path == "bad":
        return Planned("POST", "/chat", "", {"question": ""}, user)
    if path == "/search":
        return Planned("GET", path, urlencode({"q": question, "k": top_k}), None, user)
    if path in ("/healthz", "/chat/history"):
        return Planned("GET", path, "", None, user)
    body: dict[str, object] = {"question": question, "top_k": top_k}
    if models:
        body["model"] = chance.choice(models)
    return Planned("POST", path, "", body, user)


def send_all(plan: Sequence[Planned], url: str) -> Iterator[Outcome]:
    """Each outcome as it comes, a few requests at a time."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="demo") as pool:
        futures = [pool.submit(send, planned, url) for planned in plan]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def send(planned: Planned, url: str) -> Outcome:
    """Send one request and read the answer to its end."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
    headers = {"x-user": planned.user}
    body = None
    if planned.body is not None:
        body, headers["content-type"] = json.dumps(planned.body), "application/json"
    target = f"{planned.path}?{planned.query}" if planned.query else planned.path
    started_s = time.monotonic()
    try:
        connection.request(planned.method, target, body, headers)
        response = connection.getresponse()
        response.read()
        return Outcome(planned, response.status, time.monotonic() - started_s)
    except (OSError, http.client.HTTPException) as error:
        why = f"{type(error).__name__}: {error}"
        return Outcome(planned, 0, time.monotonic() - started_s, why)
    finally:
        connection.close()
