"""What the bridge made, until it is delivered and after: calls, outbox, ledger, reading positions.

.. code-block:: text

    writer.py       Store: opened by the bridge, written to in transactions, mended
    transaction.py  Transaction: what may be written
    reader.py       StoreReader: what may be read, beside the writer
    feedback.py     scores: both of them, for what is not a call
    alerts.py       the same for alerts
    tables.py       the same for the tables that rows take along
    shapes.py       what goes in and comes out
    schema.py       the tables, and migrations from older versions
    database.py     one SQLite connection with our errors and settings
    files.py        made whole before they are named, moved away when damaged
    recovery.py     what is still readable of a damaged store
"""

from otel_wandb.store.alerts import AlertRoute, NewAlert, QueuedAlert, StoredAlert
from otel_wandb.store.feedback import NewFeedback, QueuedFeedback, StoredFeedback
from otel_wandb.store.reader import StoreReader
from otel_wandb.store.shapes import (
    DeadLetter,
    Destination,
    Mark,
    NewCall,
    NewRow,
    NewRun,
    QueuedCall,
    QueuedRow,
    RecentTrace,
    Snapshot,
    StoredCall,
    StoredRow,
    StoredRun,
)
from otel_wandb.store.tables import NewTable
from otel_wandb.store.transaction import Transaction
from otel_wandb.store.writer import Store

__all__ = [
    "AlertRoute",
    "DeadLetter",
    "Destination",
    "Mark",
    "NewAlert",
    "NewCall",
    "NewFeedback",
    "NewRow",
    "NewRun",
    "NewTable",
    "QueuedAlert",
    "QueuedCall",
    "QueuedFeedback",
    "QueuedRow",
    "RecentTrace",
    "Snapshot",
    "Store",
    "StoreReader",
    "StoredAlert",
    "StoredCall",
    "StoredFeedback",
    "StoredRow",
    "StoredRun",
    "Transaction",
]
