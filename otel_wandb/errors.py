"""Every error that otel-wandb raises, and nothing else.

.. code-block:: text

    OtelWandbError
    ├── ConfigError            a setting is unknown, malformed or contradicts another
    ├── CredentialError        no key, or one that cannot be read
    ├── JournalError
    │   ├── JournalFull        the limit or the disk is reached: retry later
    │   └── JournalUnusable    the directory cannot be written to at all
    ├── BridgeRunning          another bridge holds the data directory
    ├── StoreError             the store cannot be opened, read, written or repaired
    │   └── StoreFull          the disk is full: retry later
    ├── InputError             a file or request is not OTLP (names the place and what was expected)
    │   └── InputTooLarge      it is larger than the limit, before or after decompression
    └── DeliveryError
        ├── DeliveryRetryable  the other side may take it later
        ├── DeliveryAmbiguous  the answer was lost: it may or may not have been taken
        ├── DeliveryPermanent  the other side will never take it
        └── DeliveryRefused    the other side takes nothing from this key, or for this project

They are raised from set-up calls, from the command line and between our own rooms. None of them ever
reaches a request of the instrumented service: there, the loss is counted and logged instead.
"""

__all__ = [
    "BridgeRunning",
    "ConfigError",
    "CredentialError",
    "DeliveryAmbiguous",
    "DeliveryError",
    "DeliveryPermanent",
    "DeliveryRefused",
    "DeliveryRetryable",
    "InputError",
    "InputTooLarge",
    "JournalError",
    "JournalFull",
    "JournalUnusable",
    "OtelWandbError",
    "StoreError",
    "StoreFull",
]


class OtelWandbError(Exception):
    """The root of all errors of this package."""


class ConfigError(OtelWandbError):
    """A setting is unknown, malformed, or contradicts another one."""


class CredentialError(OtelWandbError):
    """No API key was found, or the place that should hold it cannot be read."""


class JournalError(OtelWandbError):
    """Something could not be appended to the journal."""


class JournalFull(JournalError):
    """The journal's limit or the disk is reached; the same append may succeed later."""


class JournalUnusable(JournalError):
    """The journal's directory cannot be written to at all."""


class BridgeRunning(OtelWandbError):
    """Another bridge process holds the lock of the data directory."""


class StoreError(OtelWandbError):
    """The store cannot be opened, read, written or repaired."""


class StoreFull(StoreError):
    """The disk of the store is full; nothing of the transaction was kept, and the same may succeed later."""


class InputError(OtelWandbError):
    """Bytes that should be OTLP are not; the message names the place and what was expected."""


class InputTooLarge(InputError):
    """A request is larger than the limit, as it came or once decompressed; it was not read to its end."""


class DeliveryError(OtelWandbError):
    """W&B did not take what was sent."""


class DeliveryRetryable(DeliveryError):
    """W&B did not take it now; `retry_after_s` says what the server asked for, if it did."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeliveryAmbiguous(DeliveryError):
    """The answer was lost: what was sent may or may not have been taken."""


class DeliveryPermanent(DeliveryError):
    """W&B will never take this; `status` is the HTTP status and `answer` the server's words."""

    def __init__(self, message: str, *, status: int, answer: str) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer


class DeliveryRefused(DeliveryError):
    """W&B takes nothing with this key, at this address or for this project, whatever it is."""

    def __init__(self, message: str, *, status: int, answer: str) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer
