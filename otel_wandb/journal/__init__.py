"""What was acknowledged and is not yet finished: append-only files between the fronts and the bridge.

A front appends with `JournalWriter`; that append is the acknowledgement. The bridge reads with
`JournalReader` and removes a segment once all of it is finished. Nobody else writes here.

- A segment `{writer_id}-{seq:08d}.seg` belongs to one process, which holds its lock for as long as it may
  write to it. It appears in the directory locked, and once unlocked it never changes again: whoever finds
  it unlocked knows its final size.
- A frame is acknowledged when `append` returns. An append that raises leaves nothing that would be read, but
  for one case: with `always`, a disk that could neither sync nor cut the file.
- What an acknowledged frame survives is chosen by `fsync`. `never`: the death of any process, by SIGKILL,
  too. `interval`: that of the machine, too, but for the last `fsync_interval_s`. `always`: all of it.
- What the disk damaged is reported as `Damage`, with the number of items where it is known, and the rest of
  the segment is read on.

`frames` is the format, `reader` and `writer` what the names say, `upkeep` what keeps appends from waiting.
"""

from otel_wandb.journal.frames import Codec, Damage, Frame, Kind, Signal
from otel_wandb.journal.reader import JournalReader, Segment, count_unread, measure_journal
from otel_wandb.journal.writer import FsyncMode, JournalWriter

__all__ = [
    "Codec",
    "Damage",
    "Frame",
    "FsyncMode",
    "JournalReader",
    "JournalWriter",
    "Kind",
    "Segment",
    "Signal",
    "count_unread",
    "measure_journal",
]
