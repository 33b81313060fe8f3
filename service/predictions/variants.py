"""Many requests that differ in a few numbers, computed as one: for sweeps and for uncertain inputs.

What a field does to the compiled mix is found by compiling the request with two other values of it. Where the field
arrives there as it is (a number of samples, a noise variance, a penalty, a weight), it becomes a slot of the theory's
variations and no request need be compiled for its values; so does the size of a shift. Every other field (a dimension,
a number of generations) makes a group of its own for each of its values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.errors import InvalidInput
from service.predictions.engine import compiled, seconds_of, work_of
from service.predictions.fields import Variant, with_number
from service.predictions.schemas import PredictionRequest
from service.predictions.slots import Compiled, slots_of
from service.theory.corrected import correctable
from service.theory.mixes.scenarios import is_mixed
from service.theory.model import Array, Population
from service.theory.plain_prediction import is_plain
from service.theory.slots import COLUMNS, Columns, Slot
from service.theory.variations import predictions
from service.web.pointers import input_errors

Places = NDArray[np.intp]

_REMEMBERED = 2_000_000  # modes of the compiled groups that are kept
# Seconds: measured on one core of a cloud machine, rounded up. They only decide what is refused.
_COMPILATION = 2e-4
_BY_ITSELF = 1e-3
_SIDE_BY_SIDE = 3e-8
_POINT = 1e-5  # of a point side by side, however few its modes are
_LARGE = 20_000  # modes beyond which points no longer share the processor's cache
_AT_ENDS = 0.1  # share of the values that may be about as hard as an end, where it may take very much longer
# Mixes of several sources side by side: per point, and per work; order 1 takes four times as long.
_MIXED_POINT, _MIXED_WORK, _MIXED_ORDER_1 = 1e-4, 2e-8, 3


@dataclass(frozen=True, eq=False)
class Family:
    """Requests that are equal but for some numbers.

    ``base``: one of them as JSON; ``stored``: the population of the stored data set that it names; ``usual``: seconds
    that one of them takes on average, by the number that matters most.
    """

    base: Mapping[str, Any]
    variants: tuple[Variant, ...]
    stored: Population | None
    order: Literal[0, 1]
    usual: float
    _known: dict[tuple[tuple[int, ...], tuple[float, ...]], "_Group | str"] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Without what it has compiled: another process compiles for itself."""
        return {**self.__dict__, "_known": {}}

    def table(self, values: Array) -> Columns:
        """The predictions at ``values``, shape (points, variants)."""
        table = {name: np.full(len(values), np.nan) for name in COLUMNS}
        problems: dict[int, str] = {}
        self._fill(values, np.arange(len(values)), self.slow, table, problems)
        return Columns(table, problems)

    def _fill(
        self,
        values: Array,
        chosen: Places,
        slow: tuple[int, ...],
        table: dict[str, Array],
        problems: dict[int, str],
    ) -> None:
        """Fill the chosen rows, with one compilation for each combination of the slow fields' values."""
        for key, members in _grouped(values[chosen][:, list(slow)]):
            rows = chosen[members]
            found = self._group(key, slow)
            if isinstance(found, str):
                problems.update(dict.fromkeys(rows.tolist(), found))
            elif found.unsettled:  # where another field makes this one do more than it did in the first group
                self._fill(values, rows, (*slow, *found.unsettled), table, problems)
            else:
                part = found.predictions(values[rows], self.order)
                for name, numbers in part.values.items():
                    table[name][rows] = numbers
                problems.update({int(rows[i]): text for i, text in part.problems.items()})

    @property
    def _first(self) -> "_Group":
        found = self._group((), ())
        assert isinstance(found, _Group)
        return found

    @property
    def modes(self) -> int:
        """Number of distinct modes of one of the requests."""
        return self._first.compiled[0].eigenvalues.size

    @property
    def slow(self) -> tuple[int, ...]:
        """Indices of the fields that every value of is compiled for."""
        return self._first.unsettled

    def _group(self, key: tuple[float, ...], slow: tuple[int, ...]) -> "_Group | str":
        """The requests with these values in the slow fields, or why there are none."""
        known = self._known.get((slow, key))
        if known is None:
            base = self.base
            for i, value in zip(slow, key, strict=True):
                base = self.variants[i].replaced(base, value)
            try:
                known = _Group(base, self.variants, set(slow), self.stored)
            except (ValidationError, InvalidInput) as error:
                known = _reason(error)
            if slow and len(self._known) * self._first.compiled[0].eigenvalues.size > _REMEMBERED:
                self._known.pop(next(name for name in self._known if name[0]), None)
            self._known[slow, key] = known
        return known

    def seconds(self, points: int, combinations: int) -> float:
        """About how long ``points`` take, with so many ``combinations`` of the slow fields' values."""
        population, mix = self._first.compiled
        work = work_of(population, mix)
        if self._first.side_by_side:
            per_work = _SIDE_BY_SIDE * (1 + self.order)
            each = _POINT + work * per_work if self.modes <= _LARGE else seconds_of(population, mix)
            return combinations * (_COMPILATION + _BY_ITSELF) + points * each
        if is_mixed(population, mix) and correctable(population, mix):
            each = (_MIXED_POINT + work * _MIXED_WORK) * (1 + _MIXED_ORDER_1 * self.order)
            return combinations * (_COMPILATION + _BY_ITSELF) + points * each
        return combinations * _COMPILATION + points * (_BY_ITSELF + self.usual)


def family(
    base: Mapping[str, Any],
    variants: Sequence[Variant],
    stored: Population | None,
    order: Literal[0, 1],
) -> Family:
    """A family of requests. Raises InvalidInput where a field cannot take its least or its largest value."""
    usual = 0.0
    for variant in variants:
        ends = [_seconds_at(variant, value, base, stored) for value in (variant.low, variant.high)]
        between = [_seconds_at(variant, value, base, stored) for value in variant.typical] or ends
        usual = max(usual, (1.0 - _AT_ENDS) * float(np.mean(between)) + _AT_ENDS * float(np.mean(ends)))
    found = Family(base, tuple(variants), stored, order, usual)
    first = found._group((), ())
    if isinstance(first, str):
        raise InvalidInput(first)
    return found


def _seconds_at(variant: Variant, value: float, base: Mapping[str, Any], stored: Population | None) -> float:
    """What the base request takes with this value. Raises InvalidInput."""
    try:
        request = PredictionRequest.model_validate(variant.replaced(base, value))
        return seconds_of(*compiled(request, stored))
    except (ValidationError, InvalidInput) as error:
        message = f"{variant.pointer} = {variant.number(value):g} is refused: {_reason(error)}"
        raise InvalidInput.at(variant.at, "invalid_value", message) from error
    except KeyError:
        message = f"the base request has no number at {variant.pointer}"
        raise InvalidInput.at(variant.at, "unknown_field", message) from None


class _Group:
    """Requests that differ in numbers that arrive in the mix as they are. Raises ValidationError, InvalidInput."""

    def __init__(
        self, base: Mapping[str, Any], variants: Sequence[Variant], done: set[int], stored: Population | None
    ) -> None:
        self.stored, self.variants = stored, variants
        for i, variant in enumerate(variants):  # at a point inside of what was checked, away from 0
            if i not in done:
                base = variant.replaced(base, variant.high)
        self.compiled = self._compile(base)
        slots = [() if i in done else self._settled(base, variant) for i, variant in enumerate(variants)]
        self.slots: list[tuple[Slot, ...]] = [found or () for found in slots]
        self.unsettled = tuple(i for i, found in enumerate(slots) if found is None)

    def _settled(self, base: Mapping[str, Any], variant: Variant) -> tuple[Slot, ...] | None:
        """The slots that hold the field's value; None where it does something else as well."""
        high, low = variant.number(variant.high), variant.number(variant.low)
        if high == low:
            return None
        middle = variant.number(variant.low + (variant.high - variant.low) / 3)
        found = [
            slots_of(
                self.compiled,
                self._compile(with_number(base, variant.path, value)),
                float(high),
                float(value),
            )
            for value in ({low, middle} - {high})
        ]
        return found[0] if found and all(slots == found[0] for slots in found) else None

    def _compile(self, base: Mapping[str, Any]) -> Compiled:
        return compiled(PredictionRequest.model_validate(base), self.stored)

    @property
    def side_by_side(self) -> bool:
        """Whether the theory takes its points all at once."""
        fields = [slot.field for slots in self.slots for slot in slots]
        return "weight" not in fields and is_plain(*self.compiled)

    def predictions(self, values: Array, order: Literal[0, 1]) -> Columns:
        """At ``values`` of all variants, shape (points, variants)."""
        population, mix = self.compiled
        varied = {
            slot: values[:, i] / variant.high if slot.field == "shift" else values[:, i]
            for i, (variant, slots) in enumerate(zip(self.variants, self.slots, strict=True))
            for slot in slots
        }
        return predictions(population, mix, varied, len(values), order=order)


def _grouped(values: Array) -> list[tuple[tuple[float, ...], Places]]:
    """Distinct rows, and where each is."""
    if values.shape[1] == 0 or np.all(values == values[0]):
        return [(tuple(values[0].tolist()), np.arange(len(values)))]
    distinct, place = np.unique(values, axis=0, return_inverse=True)
    order = np.argsort(place, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(place))[:-1])
    return [(tuple(row), where) for row, where in zip(distinct.tolist(), members, strict=True)]


def _reason(error: ValidationError | InvalidInput) -> str:
    if isinstance(error, InvalidInput):
        return error.detail
    found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
    return input_errors(found, {})[0].message
