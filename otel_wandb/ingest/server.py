"""What a server of OTLP does with a request, by whatever protocol it came.

Check that the bytes decode, count what is in them, append them to the journal as they came, answer: nothing
else happens before the answer. The codes are those of gRPC, which OTLP has a meaning for over HTTP, too
(opentelemetry-proto, docs/specification.md, 1.11): only UNAVAILABLE asks the sender to come again, so it is
said for whatever may pass, and nothing that may pass gets another code.
"""

from __future__ import annotations

import enum
import logging
import time
from dataclasses import dataclass
from typing import Final, Protocol

from otel_wandb.errors import InputError, InputTooLarge, JournalError
from otel_wandb.ingest.compression import MAX_REQUEST_BYTES, decompress
from otel_wandb.ingest.inspection import inspect_request
from otel_wandb.journal import Codec, Kind, Signal

_log = logging.getLogger("otel_wandb.serve")

RETRY_AFTER_S: Final = 5
"""What a sender is asked to wait; the Collector's own first pause."""

_QUICK_BYTES: Final = 1 << 20
_QUICK_COMPRESSED_BYTES: Final = 128 << 10
_QUICK_DECOMPRESSED_BYTES: Final = 2 << 20
_COMPLAIN_EVERY_S: Final = 60.0
_REASON_CHARACTERS: Final = 300


class Code(enum.IntEnum):
    """As much of `google.rpc.Code` as is said here."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one request: `rejected` items can never be taken, the others are in the journal."""

    code: Code = Code.OK
    message: str = ""
    items: int = 0
    rejected: int = 0
    retry_after_s: int = 0


NOTHING: Final = Receipt()


class Desk(Protocol):
    """Where requests are acknowledged: the journal, and the counters of what never comes to it."""

    @property
    def slow(self) -> bool:
        """Whether an append waits for the disk, so that others should not wait for it."""
        ...

    def append(self, payload: bytes, *, kind: Kind, items: int, codec: Codec) -> None:
        """Return when it is acknowledged; raise `JournalError` where it is not, and nothing was kept."""
        ...

    def reject(self, signal: Signal, items: int, *, reason: str) -> None:
        """Count what could not be read at all."""
        ...


class Receiver:
    """Takes requests for a desk. Thread-safe; never raises.

    `max_bytes` is how large one may be, as it comes and decompressed; `room_bytes` how large as it comes,
    since that is how it is kept.
    """

    def __init__(
        self, desk: Desk, *, max_bytes: int = MAX_REQUEST_BYTES, room_bytes: int = MAX_REQUEST_BYTES
    ) -> None:
        self.max_bytes = min(max_bytes, room_bytes)
        """How large a request may be as it comes."""
        self._max_plain_bytes = max_bytes
        self._desk = desk
        self._refused_s = float("-inf")
        self._complained_s = float("-inf")

    @property
    def refuses(self) -> bool:
        """Whether the journal refused a request within the last seconds."""
        return time.monotonic() - self._refused_s < RETRY_AFTER_S

    def receive_quickly(self, kind: Kind, codec: Codec, body: bytes) -> Receipt | None:
        """The same as `receive`; None, and nothing is done, where it may take more than some milliseconds."""
        limit = _QUICK_BYTES if codec is Codec.PLAIN else _QUICK_COMPRESSED_BYTES
        if len(body) > limit or self._desk.slow:
            return None
        return self._receive(kind, codec, body, min(_QUICK_DECOMPRESSED_BYTES, self._max_plain_bytes))

    def receive(self, kind: Kind, codec: Codec, body: bytes) -> Receipt:
        """What became of the request, once that is certain."""
        receipt = self._receive(kind, codec, body, self._max_plain_bytes)
        assert receipt is not None  # only what is larger than the limit of a quick look is put off
        return receipt

    def refuse_large(self, kind: Kind, size: int | None = None) -> Receipt:
        """The answer to a request that is over the limit, whatever else it is."""
        return self._reject(kind, "too_large", self._over(size), Code.RESOURCE_EXHAUSTED)

    def _receive(self, kind: Kind, codec: Codec, body: bytes, max_bytes: int) -> Receipt | None:
        if len(body) > self.max_bytes:
            return self.refuse_large(kind, len(body))
        try:
            found = inspect_request(kind, decompress(codec, body, max_bytes=max_bytes))
            if found.items:
                self._desk.append(body, kind=kind, items=found.items, codec=codec)
        except InputTooLarge:
            return None if max_bytes < self._max_plain_bytes else self.refuse_large(kind)
        except InputError as error:
            return self._reject(kind, "malformed", str(error), Code.INVALID_ARGUMENT)
        except JournalError as error:
            return self._refuse(str(error))
        except Exception:  # noqa: BLE001  a mistake of ours must not cost the sender its data
            _log.exception("A request of %d bytes (%s) could not be taken.", len(body), kind.name)
            return self._refuse("an error of the server; its log says more")
        rejected = sum(found.rejected.values())
        if not rejected:
            return Receipt(items=found.items)
        return Receipt(message=_tell(kind, found.rejected), items=found.items, rejected=rejected)

    def _reject(self, kind: Kind, reason: str, message: str, code: Code) -> Receipt:
        signal = kind.signal
        assert signal is not None  # requests have one
        self._desk.reject(signal, 1, reason=reason)
        return Receipt(code, _shorten(message))

    def _refuse(self, why: str) -> Receipt:
        self._refused_s = now_s = time.monotonic()
        if now_s - self._complained_s >= _COMPLAIN_EVERY_S:
            self._complained_s = now_s
            _log.warning("Requests are refused with 503, so that their senders keep them: %s.", why)
        return ask_to_retry(why)

    def _over(self, size: int | None) -> str:
        found = f"this one has {size}" if size is not None else "this one is larger"
        return (
            f"expected a request of at most {self.max_bytes} bytes, and {self._max_plain_bytes} after "
            f"decompression; {found}: let the sender make smaller batches"
        )


def ask_to_retry(why: str) -> Receipt:
    """The answer that leaves the data with its sender, who comes again."""
    return Receipt(Code.UNAVAILABLE, _shorten(why), retry_after_s=RETRY_AFTER_S)


def _shorten(message: str) -> str:
    """A message that fits into an answer, whatever of the request it repeats."""
    return message[:_REASON_CHARACTERS].encode("utf-8", "replace").decode()


def _tell(kind: Kind, rejected: dict[str, int]) -> str:
    reasons = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in sorted(rejected.items()))
    signal = (kind.signal or "items").replace("_", " ")
    return f"some {signal} can never be taken ({reasons}); all others were"
