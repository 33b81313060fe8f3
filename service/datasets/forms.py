"""Form fields that hold JSON: parsed here, so that an error points into them, and documented as what they hold."""

from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from service.datasets.limits import refuse
from service.datasets.schemas import FeatureMap, TargetTransform
from service.errors import FieldError, InvalidInput
from service.web.bodies import REPEATED_NAME, repeated_name
from service.web.pointers import input_errors

T = TypeVar("T")


class JsonField(Generic[T]):
    """One form field of JSON."""

    def __init__(self, name: str, adapter: TypeAdapter[T], description: str) -> None:
        self.name = name
        self.description = f"JSON: {description}"
        self._adapter = adapter

    @property
    def schema(self) -> dict[str, Any]:
        """What the OpenAPI document says about the text."""
        return {"contentMediaType": "application/json"}

    def parsed(self, text: str) -> T:
        """The value; raises InvalidInput with a pointer into the field."""
        try:
            value = from_json(text, allow_inf_nan=False)
        except ValueError:
            raise refuse(
                self.name, "json_invalid", f"it is not valid JSON; send {self.description}"
            ) from None
        if (twice := repeated_name(text.encode(), value)) is not None:
            raise InvalidInput.at(f"/{self.name}{twice}", "duplicate_key", REPEATED_NAME)
        try:
            return self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            found = input_errors(
                [{**one, "loc": ("body", self.name, *one["loc"])} for one in error.errors()],
                {self.name: value},
            )
        pointers = [FieldError(one.pointer or "", one.code, one.message) for one in found]
        raise InvalidInput(f"{pointers[0].pointer}: {pointers[0].message}", errors=pointers)


_FEATURE_MAP: TypeAdapter[FeatureMap] = TypeAdapter(FeatureMap)
_TARGET_TRANSFORM: TypeAdapter[TargetTransform] = TypeAdapter(TargetTransform)

FEATURE_MAP: Final = JsonField(
    "feature_map",
    _FEATURE_MAP,
    '{"kind": "linear"}, {"kind": "rbf", "bandwidth": 1.5} (default: median distance) or '
    '{"kind": "polynomial", "degree": 5, "offset": 1, "scale": 28} (default scale: √columns × largest |entry|).',
)
TARGET_TRANSFORM: Final = JsonField(
    "target_transform",
    _TARGET_TRANSFORM,
    '{"kind": "identity"} (default), {"kind": "modulo", "divisor": 2} or {"kind": "equals", "value": 7}.',
)
