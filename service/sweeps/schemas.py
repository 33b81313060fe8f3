"""What a client says about a sweep."""

from collections import Counter
from math import prod
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Strict,
    Tag,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.predictions.schemas import LARGEST, Model, PredictionRequest
from service.theory.slots import COLUMNS

MAX_POINTS = 1_000_000
MAX_AXES = 8
MAX_POINTER = 512

Number = (
    Annotated[int, Field(ge=-(10**18), le=10**18), Strict()]
    | Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False), Strict()]
)
Pointer = Annotated[
    str,
    Field(
        pattern=r"^(/(dataset|training_mix)(/([^~/]|~[01])+)+)$",
        max_length=MAX_POINTER,
        description="RFC 6901 pointer to a number of the base request, as /training_mix/penalty.",
    ),
]


class ValuesAxis(Model):
    """A field and the values it takes."""

    pointer: Pointer
    values: Annotated[list[Number], Field(min_length=1, max_length=MAX_POINTS)]

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)


class RangeAxis(Model):
    """A field and a range that it runs through, rounded (without repetition) where it holds whole numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    pointer: Pointer
    start: Number = Field(alias="from")
    stop: Number = Field(alias="to")
    points: Annotated[int, Field(ge=2, le=MAX_POINTS), Strict()]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _positive_for_logarithms(self) -> "RangeAxis":
        if self.scale == "log" and (self.start <= 0 or self.stop <= 0):
            raise ValueError(
                'a range of scale "log" begins and ends above 0; use "linear", or list the values'
            )
        return self

    @property
    def size(self) -> int:
        """Number of values."""
        return self.points


def _kind(axis: Any) -> str:
    listed = "values" in axis if isinstance(axis, dict) else isinstance(axis, ValuesAxis)
    return "ValuesAxis" if listed else "RangeAxis"


class _AnyOf:
    """The schema of a union as anyOf: which of them is told by their fields, and oneOf makes generators crawl."""

    @staticmethod
    def __get_pydantic_json_schema__(core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        return {"anyOf": schema.pop("oneOf"), **schema}


Axis = Annotated[
    Annotated[ValuesAxis, Tag("ValuesAxis")] | Annotated[RangeAxis, Tag("RangeAxis")],
    Discriminator(_kind),
    _AnyOf(),
]


class SweepRequest(Model):
    """One base request and the fields that vary: every combination is a point, the last axis running fastest."""

    base: PredictionRequest
    axes: Annotated[list[Axis], Field(min_length=1, max_length=MAX_AXES)]
    columns: Annotated[list[Literal[COLUMNS]], Field(min_length=1, max_length=len(COLUMNS))] | None = Field(  # type: ignore[valid-type]
        None, description="Which numbers to give for each point; default: all."
    )
    order: Literal[0, 1] = Field(
        1,
        description="As of a prediction: 0 for the asymptotic value, 1 with the finite-size correction. Recursions "
        "and other mixes of one covariance are computed side by side.",
    )

    @model_validator(mode="after")
    def _limits(self) -> "SweepRequest":
        points = prod(axis.size for axis in self.axes)
        if points > MAX_POINTS:
            raise ValueError(
                f"the grid has {points} points; at most {MAX_POINTS} are computed in one request"
            )
        twice = [
            pointer for pointer, count in Counter(axis.pointer for axis in self.axes).items() if count > 1
        ]
        if twice:
            raise ValueError(f"{twice[0]} is varied by two axes; give each field one axis")
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is named twice")
        return self


class Sweep(BaseModel):
    """The points of a sweep as JSON."""

    points: int
    order: Literal[0, 1]
    columns: list[str] = Field(description="Pointers of the axes, the columns asked for, and `problem`.")
    rows: list[list[float | str | None]] = Field(
        description="One list for each point, in the order of `columns`. A number is null where it is infinite (an "
        "interpolation threshold) or does not exist; `problem` is null, or why there is no prediction here."
    )
