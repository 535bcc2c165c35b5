"""What is remembered of cumulative streams, bounded, and as states for the store."""

from __future__ import annotations

from otel_wandb.metrics.cells import Memory
from otel_wandb.metrics.remembered import decode_memory, encode_memory


class Memories:
    """The memory of each stream, by its digest; beyond the limit those go that were quiet for longest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._memories: dict[bytes, Memory] = {}
        self._names: dict[bytes, str] = {}

    def restore(self, name: str, digest: bytes, state: bytes) -> None:
        """Take up a stored state; raises `msgspec.DecodeError` or `ValueError`."""
        self._memories[digest] = decode_memory(state)
        self._names[digest] = name

    def look_up(self, digest: bytes) -> Memory:
        """The memory of the stream, an empty one if there is none. It is kept only by `keep`."""
        memory = self._memories.pop(digest, None)
        if memory is None:
            return Memory()
        self._memories[digest] = memory  # the end of the line
        return memory

    def keep(self, digest: bytes, memory: Memory, name: str) -> list[tuple[str, bytes]]:
        """Hold the memory under a name; the states that have to be stored, empty ones to be deleted."""
        self._memories[digest] = memory
        self._names[digest] = name
        states = [(name, encode_memory(memory))]
        while len(self._memories) > self._limit:
            oldest = next(iter(self._memories))
            del self._memories[oldest]
            states.append((self._names.pop(oldest), b""))
        return states
