"""A grid over numbers of a request: each axis names one by JSON pointer and lists the values it takes."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from service.errors import FieldError, InvalidInput
from service.predictions.schemas import PredictionRequest
from service.simulations.schemas import MAX_POINTS, SimulationRequest


@dataclass(frozen=True)
class GridPoint:
    """What is predicted and simulated at one point: the values by pointer, and the whole request."""

    parameters: dict[str, int | float]
    request: PredictionRequest


def expand(request: SimulationRequest) -> list[GridPoint]:
    """Every point of the request's grid, the last axis running fastest; one point without a grid.

    Raises InvalidInput where a pointer names no number, is named twice, or a value is not allowed there.
    """
    base: dict[str, Any] = request.model_dump(mode="json", include={"dataset", "training_mix"})
    pointers = [axis.pointer for axis in request.grid]
    count = 1
    for i, axis in enumerate(request.grid):
        count *= len(axis.values)
        if axis.pointer in pointers[:i]:
            raise InvalidInput.at(f"/grid/{i}/pointer", "named_twice", "Another axis names the same number.")
        _number_at(base, axis.pointer, f"/grid/{i}/pointer")
    if count > MAX_POINTS:
        raise InvalidInput.at("/grid", "too_large", f"The grid has {count} points; at most {MAX_POINTS}.")
    return [
        GridPoint(
            dict(zip(pointers, (value for _, value in chosen), strict=True)),
            _validated(_with(base, pointers, [value for _, value in chosen]), [j for j, _ in chosen]),
        )
        for chosen in product(*(list(enumerate(axis.values)) for axis in request.grid))
    ]


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _child(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value[step]
    if isinstance(value, list) and (step == "0" or (step.isascii() and step.isdigit() and step[0] != "0")):
        return value[int(step)]
    raise KeyError(step)


def _number_at(base: dict[str, Any], pointer: str, where: str) -> None:
    value: Any = base
    try:
        for step in _steps(pointer):
            value = _child(value, step)
    except (KeyError, IndexError):
        raise InvalidInput.at(where, "no_such_field", f"The request has nothing at {pointer}.") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput.at(
            where, "not_a_number", f"The value at {pointer} is not a number: give it one in the request."
        )


def _with(base: dict[str, Any], pointers: list[str], values: list[int | float]) -> dict[str, Any]:
    """A copy of ``base`` with these values; what they do not touch is shared, not copied."""
    changed: Any = base
    for pointer, value in zip(pointers, values, strict=True):
        changed = _replaced(changed, _steps(pointer), value)
    result: dict[str, Any] = changed
    return result


def _replaced(value: Any, steps: list[str], new: int | float) -> Any:
    if not steps:
        return new
    child = _replaced(_child(value, steps[0]), steps[1:], new)
    if isinstance(value, dict):
        return {**value, steps[0]: child}
    return [child if index == int(steps[0]) else item for index, item in enumerate(value)]


def _validated(request: dict[str, Any], chosen: list[int]) -> PredictionRequest:
    try:
        return PredictionRequest.model_validate(request)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = [f"/grid/{axis}/values/{value}" for axis, value in enumerate(chosen)]
        message = f"Not allowed at this point of the grid: {first['msg']}"
        raise InvalidInput(message, errors=[FieldError(at, first["type"], message) for at in where]) from None
