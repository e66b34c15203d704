"""Large answers of a child process, handed over in memory that both see instead of being copied through a pipe.

The memory is that of memfd_create(2): it has no name in any folder, and is gone when nobody holds it, even after
kill -9. Where the system has none (anything but Linux), answers go through the pipe.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import weakref
from pathlib import Path
from typing import Any, Self

_SMALL = 2**16
"""Bytes of an answer up to which the pipe is quicker."""
_ALIGNED = 64
_TAKEN = b"\1"
"""First byte of the memory, once the parent has opened it."""
_IS_HERE = sys.platform == "linux" and Path("/proc/self/fd").is_dir()
"""Whether there is such memory, and the way by which another process opens it."""
_MOST_OPEN = 128
"""Answers that lie in shared memory at a time: each holds a descriptor. Further ones are copied as they are opened."""
_open: set[int] = set()
"""In the parent: the answers in shared memory that somebody still looks at."""
_given: list[int] = []
"""In a child: descriptors that the parent may not have opened yet."""


class Parcel:
    """An answer on its way from a child: small as a value, large as a place in the child's memory."""

    def __init__(self, head: bytes, place: tuple[int, int] | None = None, ends: tuple[int, ...] = ()) -> None:
        """Hold what `give` packed.

        Args:
            head: the answer as a pickle, without its buffers.
            place: process and descriptor where the buffers are.
            ends: where each buffer ends; each begins at the next multiple of 64 behind the one before.
        """
        self.head, self.place, self.ends = head, place, ends
        self.memory: mmap.mmap | None = None

    @classmethod
    def give(cls, answer: Any) -> Self:
        """Pack an answer, in the child; what earlier answers held is let go once the parent has it."""
        _forget_what_was_taken()
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        if not _IS_HERE or sum(view.nbytes for view in views) <= _SMALL:
            return cls(pickle.dumps(answer, protocol=5))
        descriptor = os.memfd_create("medmm")
        _given.append(descriptor)
        end, ends = _ALIGNED, []
        for view in views:
            start = _aligned(end)
            end = start + view.nbytes
            ends.append(end)
            while view.nbytes:
                written = os.pwrite(descriptor, view, start)
                view, start = view[written:], start + written
        return cls(head, (os.getpid(), descriptor), tuple(ends))

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.head, self.place, self.ends)

    @property
    def is_lost(self) -> bool:
        """Whether the child died before its memory was opened: the work must be done again."""
        return self.place is not None and self.memory is None

    def open(self) -> Any:
        """Return the answer, in the parent; its arrays lie in the shared memory, read-only."""
        if self.memory is None:
            return pickle.loads(self.head)  # noqa: S301  # from a child of ours
        places = zip((_aligned(end) for end in (_ALIGNED, *self.ends)), self.ends, strict=False)
        if len(_open) < _MOST_OPEN:
            _open.add(id(self.memory))
            weakref.finalize(self.memory, _open.discard, id(self.memory))
            view = memoryview(self.memory)
            buffers: list[bytes | memoryview] = [view[start:end] for start, end in places]
        else:
            buffers = [self.memory[start:end] for start, end in places]
            self.memory.close()
        return pickle.loads(self.head, buffers=buffers)  # noqa: S301  # from a child of ours


def _arrived(head: bytes, place: tuple[int, int] | None, ends: tuple[int, ...]) -> Parcel:
    """Runs in the parent as the parcel is unpickled: open the memory at once, while the child lives."""
    parcel = Parcel(head, place, ends)
    if place is not None:
        try:
            descriptor = os.open(Path("/proc", str(place[0]), "fd", str(place[1])), os.O_RDWR)
            try:
                parcel.memory = mmap.mmap(descriptor, ends[-1], access=mmap.ACCESS_READ)
                os.pwrite(descriptor, _TAKEN, 0)
            finally:
                os.close(descriptor)
        except (OSError, ValueError):  # the child is gone
            parcel.memory = None
    return parcel


def _forget_what_was_taken() -> None:
    """Close what the parent has opened."""
    for descriptor in list(_given):
        if os.pread(descriptor, 1, 0) == _TAKEN:
            os.close(descriptor)
            _given.remove(descriptor)


def _aligned(place: int) -> int:
    return -(-place // _ALIGNED) * _ALIGNED
