"""Locations of pydantic's errors become pointers into what was sent: read off the bodies by eye."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

import openapi
from service.predictions.schemas import PredictionRequest
from service.web.pointers import MAX_POINTER, PATTERNS, InputError, input_errors, pointer

DATASET = {
    "spectrum": {"kind": "isotropic", "dimension": 3},
    "target": {"kind": "isotropic", "squared_norm": 1.0},
    "noise_variance": 0.1,
}
MIX = {
    "kind": "recursive",
    "generations": 1,
    "generator": {"samples": 6},
    "samples": 6,
    "penalty": 0.1,
}


def errors_of(body: Any) -> list[InputError]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(PredictionRequest).validate_python(body)
    return input_errors([{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()], body)


def pointers_of(body: Any) -> list[str | None]:
    return [error.pointer for error in errors_of(body)]


def changed(path: str, value: object) -> dict[str, Any]:
    """The valid request with one value set; ``...`` removes it."""
    body: dict[str, Any] = {
        "dataset": {**DATASET, "spectrum": dict(DATASET["spectrum"]), "target": dict(DATASET["target"])},  # type: ignore[call-overload]
        "training_mix": {**MIX, "generator": dict(MIX["generator"])},  # type: ignore[call-overload]
    }
    *parents, last = path[1:].split("/")
    place = body
    for step in parents:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("/dataset/noise_variance", -1, "greater_than_equal"),
        ("/dataset/noise_variance", ..., "missing"),
        ("/dataset/spectrum/dimension", "3", "int_type"),
        ("/dataset/spectrum/dimension", ..., "missing"),
        ("/dataset/spectrum/colour", 1, "extra_forbidden"),
        ("/dataset/spectrum", {"kind": "power_law", "dimension": None, "exponent": 0.5}, "value_error"),
        ("/dataset/target/squared_norm", None, "float_type"),
        ("/training_mix/generations", 1.5, "int_type"),
        ("/training_mix/generator", ..., "missing"),
        ("/training_mix/generator/samples", ..., "missing"),
        ("/training_mix/penalty", "best", "float_type"),
        ("/training_mix", 7, "model_attributes_type"),
    ],
)
def test_one_wrong_value_is_one_error_at_its_place(path: str, value: object, code: str) -> None:
    (error,) = errors_of(changed(path, value))
    assert (error.pointer, error.parameter, error.code) == (path, None, code)


def test_limits_are_numbers_that_one_can_read() -> None:
    law = {"kind": "power_law", "dimension": 3, "exponent": 1.0, "scale": 0}
    (small,) = errors_of(changed("/dataset/spectrum", law))
    assert small.message == "It should be greater than or equal to 1e-60."
    (large,) = errors_of(changed("/dataset/noise_variance", 1e61))
    assert large.message == "It should be less than or equal to 1e+60."


def test_what_is_no_object_is_told_so_in_plain_words() -> None:
    (error,) = errors_of(changed("/training_mix", 7))
    assert error.message == "It should be an object."


def test_the_kind_of_a_union_is_not_part_of_the_pointer() -> None:
    # the tag `stages` is also the name of a field below it
    body = changed(
        "/training_mix", {"kind": "stages", "stages": [{"name": "a", "penalty": 0.1, "sources": []}]}
    )
    assert pointers_of(body) == ["/training_mix/stages/0/sources"]
    body["training_mix"]["stages"] = "none"
    assert pointers_of(body) == ["/training_mix/stages"]
    del body["training_mix"]["stages"]
    assert pointers_of(body) == ["/training_mix/stages"]


def test_lists_are_counted_from_zero() -> None:
    source = {"labels": "real", "samples": 5}
    stages = [
        {"name": "a", "penalty": 0.1, "sources": [source]},
        {"name": "b", "penalty": 0.1, "sources": [source, {**source, "samples": -5}]},
    ]
    body = changed("/training_mix", {"kind": "stages", "stages": stages})
    assert pointers_of(body) == ["/training_mix/stages/1/sources/1/samples"]


def test_a_wrong_kind_names_the_right_ones_and_echoes_nothing() -> None:
    (error,) = errors_of(changed("/training_mix/kind", "SECRET"))
    assert error.pointer == "/training_mix"
    assert "'recursive'" in error.message
    assert "SECRET" not in error.message


def test_alternatives_that_fail_at_the_same_place_are_one_error_with_both_messages() -> None:
    (error,) = errors_of(changed("/training_mix/penalty", "best"))
    assert "number" in error.message
    assert "optimal" in error.message


def test_an_alternative_that_got_nowhere_is_left_out_where_another_got_further() -> None:
    # the data set may also be an id: that it is no text is no news
    assert pointers_of(changed("/dataset/spectrum/dimension", 0)) == ["/dataset/spectrum/dimension"]


def test_a_parameter_has_a_name_and_no_pointer() -> None:
    error = {"type": "int_parsing", "loc": ("query", "limit"), "msg": "Input should be a valid integer"}
    (found,) = input_errors([error], None)
    assert (found.pointer, found.parameter) == (None, "query.limit")
    assert found.message == "It should be a valid integer."


def test_pointers_are_escaped_as_rfc_6901_says() -> None:
    # the examples of RFC 6901, section 5
    assert pointer([]) == ""
    assert pointer(["foo", 0]) == "/foo/0"
    assert pointer([""]) == "/"
    assert pointer(["a/b"]) == "/a~1b"
    assert pointer(["m~n"]) == "/m~0n"
    assert pointer(["~1"]) == "/~01"


def test_a_hostile_key_does_not_make_a_long_answer() -> None:
    assert pointer(["a", "k" * 10**6]) == "/a"
    assert len(pointer(["k" * 100] * 100)) <= MAX_POINTER


def test_people_are_told_no_regular_expressions() -> None:
    """Every pattern of the document has words, and words alone are shown."""

    def patterns(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["pattern"]} if isinstance(value.get("pattern"), str) else set()
            return own.union(*map(patterns, value.values()))
        return set().union(*map(patterns, value)) if isinstance(value, list) else set()

    document = json.loads((Path(openapi.__file__).parent / "openapi.json").read_text())
    assert patterns(document) <= set(PATTERNS)
    for pattern, words in PATTERNS.items():
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(Annotated[str, Field(pattern=pattern)]).validate_python("\n")
        [error] = input_errors([{**one, "loc": ("header", "X")} for one in caught.value.errors()], None)
        assert (error.parameter, error.message) == ("header.X", words)
        assert "^" not in words


def test_a_number_in_quotes_is_told_what_it_is() -> None:
    """YAML makes text of 1e-2; and what several alternatives ask for is one sentence."""
    (error,) = errors_of(changed("/training_mix/penalty", "1e-2"))
    assert error.message == (
        "It should be a valid number, not text (without quotes; YAML takes 1e-2 for text, not 0.01 or 1.0e-2); "
        "or it should be 'optimal'."
    )
