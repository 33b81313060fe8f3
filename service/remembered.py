"""What is remembered between requests, up to a number of bytes, whatever clients send."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by what they are found by, which must never change its meaning; those asked for longest ago make room.

    Safe in threads.
    """

    def __init__(self, max_bytes: int, largest: int | None = None) -> None:
        """``largest``: bytes beyond which a value is not kept; ``max_bytes`` if not given."""
        self.max_bytes, self.bytes = max_bytes, 0
        self._largest = max_bytes if largest is None else largest
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: Hashable) -> T | None:
        """The value, or None."""
        with self._lock:
            found = self._values.get(name)
            if found is None:
                return None
            self._values.move_to_end(name)
            return found[0]

    def put(self, name: Hashable, value: T, size: int) -> None:
        """Remember a value of so many bytes."""
        with self._lock:
            if size > self._largest or name in self._values:
                return
            self._values[name] = value, size
            self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._values.popitem(last=False)[1][1]
