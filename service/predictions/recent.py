"""Answers given lately, as they were sent: the same question is not computed twice."""

from collections import OrderedDict
from typing import Final

MAX_BYTES: Final = 32 * 1024 * 1024


class RecentAnswers:
    """The latest answers by their id, which names input, engine and order: an entry is never out of date."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[str, str] = OrderedDict()

    def get(self, identity: str) -> str | None:
        """The answer as JSON, or None."""
        found = self._answers.get(identity)
        if found is not None:
            self._answers.move_to_end(identity)
        return found

    def put(self, identity: str, answer: str) -> None:
        """Remember an answer; the ones asked for longest ago make room. One larger than a tenth of it is not kept."""
        if 10 * len(answer) > self.max_bytes or identity in self._answers:
            return
        self._answers[identity] = answer
        self._bytes += len(answer)
        while self._bytes > self.max_bytes:
            self._bytes -= len(self._answers.popitem(last=False)[1])
