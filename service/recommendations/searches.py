"""Searches over numbers of samples and generations, and what they found in words."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal

from service.predictions.schemas import MAX_SAMPLES
from service.recommendations import responses
from service.recommendations.evaluation import SECONDS, Evaluator, OutOfTime
from service.theory.integer_ranges import Range, Ranges
from service.theory.model import TrainingMix

_GAPS = 3  # named in a sentence


def number(value: float) -> str:
    """A number in a sentence."""
    return "infinite" if value == inf else f"{value:.5g}"


@dataclass(frozen=True)
class Question:
    """What is varied, ``mix`` by a number from low to high; ``critical``: numbers where the error may peak.

    ``what``: in words; ``fewest``: whether the smallest value is asked for, else the largest; ``open_end``: whether the
    error is known to stay within the bound beyond ``high`` where it is there; ``limit``: what ``high`` is, in words.
    """

    what: str
    mix: Callable[[int], TrainingMix]
    low: int
    high: int
    critical: tuple[int, ...] = ()
    fewest: bool = False
    open_end: bool = True
    limit: str = ""


def ranges_of(question: Question, evaluate: Evaluator, bound: float) -> Ranges:
    """Where the bound is met; where corrected errors are asked for, the asymptotic ones show where to look."""

    def ranges(order: Literal[0, 1], guide: Ranges | None) -> Ranges:
        error = evaluate if order == evaluate.order else evaluate.asymptotic
        return Ranges(
            lambda n: error(question.mix(n)),
            bound, question.low, question.high, question.critical,
            errors=lambda numbers: evaluate.together([question.mix(n) for n in numbers], order),
            open_end=question.open_end, guide=guide,
        )  # fmt: skip

    asymptotic = ranges(0, None)
    return asymptotic if evaluate.order == 0 else ranges(1, asymptotic)


def answered(question: Question, evaluate: Evaluator, bound: float) -> tuple[dict[str, Any], Ranges | None]:
    """The fields of a Search, and the ranges behind it; None where time ran out."""
    try:
        found = ranges_of(question, evaluate, bound)
        return _fields(question, found), found
    except OutOfTime:
        return blank(
            "not_computed", f"Not computed: the time limit of {SECONDS:g} s was reached before."
        ), None


def blank(outcome: responses.Outcome, sentence: str) -> dict[str, Any]:
    """The fields of a Search without a value."""
    return {
        "outcome": outcome, "value": None, "test_error": None, "beside": None, "ranges": [], "least": None,
        "sentence": sentence,
    }  # fmt: skip


def _fields(question: Question, found: Ranges) -> dict[str, Any]:
    ranges = [responses.WholeRange(first=one.first, last=one.last) for one in found.found]
    best, least = found.least()
    fields = {
        **blank("impossible", ""),
        "ranges": ranges,
        "least": responses.Point(value=best, test_error=finite(least)),
    }
    if not found.found:
        ends = f"from {question.low:,} to {question.high:,}"
        sentence = (
            f"No number of {question.what} {ends} meets the bound {number(found.bound)}: the least test error is "
            f"{number(least)}, at {best:,}."
        )
        return {**fields, "sentence": sentence}
    if question.fewest:
        return {**fields, **_smallest(question, found)}
    return {**fields, **_largest(question, found)}


def _smallest(question: Question, found: Ranges) -> dict[str, Any]:
    value = found.found[0].first
    error = found.error(value)
    beside = None
    if value > question.low:
        beside = responses.Point(value=value - 1, test_error=finite(found.error(value - 1)))
        sentence = (
            f"At least {value:,} {question.what}: test error {number(error)} there, {number(found.error(value - 1))} "
            f"with one fewer, against the bound {number(found.bound)}."
        )
    else:
        sentence = f"{value:,} {question.what} are enough: test error {number(error)} there."
    return {
        "outcome": "found", "value": value, "test_error": finite(error), "beside": beside,
        "sentence": sentence + _gaps(found, "More are not always better"),
    }  # fmt: skip


def _largest(question: Question, found: Ranges) -> dict[str, Any]:
    last = found.found[-1]
    gaps = _gaps(found, "Fewer are not always better")
    if last.last is None:
        from_ = "" if last.first == question.low else f" from {last.first:,} on"
        sentence = f"Any number of {question.what}{from_} meets the bound {number(found.bound)}.{gaps}"
        return {"outcome": "unlimited", "sentence": sentence}
    value = last.last
    error, beside = found.error(value), None
    if value < question.high:
        beside = responses.Point(value=value + 1, test_error=finite(found.error(value + 1)))
        sentence = (
            f"At most {value:,} {question.what}: test error {number(error)} there, {number(found.error(value + 1))} "
            f"with one more, against the bound {number(found.bound)}."
        )
    else:
        sentence = f"All of {value:,} {question.what}{question.limit}: test error {number(error)} there."
    if not gaps and last.first > question.low:
        below = found.error(last.first - 1)
        gaps = (
            f" With fewer than {last.first:,} the bound is exceeded ({number(below)} at {last.first - 1:,})."
        )
    return {
        "outcome": "found", "value": value, "test_error": finite(error), "beside": beside, "sentence": sentence + gaps,
    }  # fmt: skip


def _gaps(found: Ranges, why: str) -> str:
    """Where the bound is exceeded between ranges that meet it."""
    between = [
        f"from {a.last + 1:,} to {b.first - 1:,}"
        for a, b in zip(found.found, found.found[1:], strict=False)
        if a.last is not None
    ]
    if not between:
        last = found.found[-1]
        if why.startswith("More") and last.last is not None and last.last < found.high:
            after = number(found.error(last.last + 1))
            return f" Beyond {last.last:,} the bound is exceeded again ({after} at the next)."
        return ""
    return f" {why}: {', '.join(between[:_GAPS])} the bound is exceeded, on another branch of the error."


def finite(value: float) -> float | None:
    """Null for infinity."""
    return value if isfinite(value) else None


def nearest(ranges: Iterable[Range], value: int, *, up: bool) -> int | None:
    """The number nearest to ``value`` that meets the bound, from it upward or downward."""
    if up:
        return min((max(r.first, value) for r in ranges if r.last is None or r.last >= value), default=None)
    below = [min(value if r.last is None else r.last, value) for r in ranges if r.first <= value]
    return max(below, default=None)


MOST = MAX_SAMPLES
