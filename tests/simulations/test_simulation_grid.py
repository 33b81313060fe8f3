import pytest

from service.errors import InvalidInput
from service.simulations.grid import expand
from service.simulations.schemas import MAX_POINTS, SimulationRequest

DATASET = {
    "spectrum": {"kind": "eigenvalues", "values": [3.0, 2.0, 1.0]},
    "target": {"kind": "isotropic", "squared_norm": 1.0},
    "noise_variance": 0.25,
}
RECURSIVE = {
    "kind": "recursive",
    "generations": 2,
    "generator": {"samples": 60, "noise_variance": 1.0},
    "samples": 40,
    "penalty": 0.01,
}


def request(grid: list[dict[str, object]], **changes: object) -> SimulationRequest:
    body = {"dataset": DATASET, "training_mix": RECURSIVE, "replicates": 3, "grid": grid, **changes}
    return SimulationRequest.model_validate(body)


def test_without_a_grid_there_is_the_request_itself() -> None:
    [point] = expand(request([]))
    assert point.parameters == {}
    assert point.request.training_mix.model_dump() == request([]).training_mix.model_dump()


def test_the_product_runs_fastest_over_the_last_axis() -> None:
    points = expand(
        request(
            [
                {"pointer": "/training_mix/generations", "values": [0, 1]},
                {"pointer": "/training_mix/penalty", "values": [0.1, 0.2]},
            ]
        )
    )
    seen = [(p.request.training_mix.generations, p.request.training_mix.penalty) for p in points]  # type: ignore[union-attr]
    assert seen == [(0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2)]
    assert points[1].parameters == {"/training_mix/generations": 0, "/training_mix/penalty": 0.2}


def test_entries_of_lists_and_the_data_set() -> None:
    [point] = expand(
        request(
            [
                {"pointer": "/dataset/spectrum/values/1", "values": [2.5]},
                {"pointer": "/dataset/noise_variance", "values": [0.5]},
            ]
        )
    )
    dataset = point.request.dataset
    assert dataset.spectrum.values == [3.0, 2.5, 1.0]  # type: ignore[union-attr]
    assert dataset.noise_variance == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pointer", "code"),
    [
        ("/training_mix/nothing", "no_such_field"),
        ("/training_mix/kind", "not_a_number"),
        ("/training_mix/width", "not_a_number"),
        ("/training_mix/generator", "not_a_number"),
        ("/dataset/spectrum/values/3", "no_such_field"),
        ("/dataset/spectrum/values/01", "no_such_field"),
        ("/dataset/spectrum/values/-1", "no_such_field"),
        ("/dataset/spectrum/values/²", "no_such_field"),
        ("/dataset/noise_variance/0", "no_such_field"),
    ],
)
def test_a_pointer_that_names_no_number(pointer: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        expand(request([{"pointer": pointer, "values": [1]}]))
    [error] = caught.value.errors
    assert (error.pointer, error.code) == ("/grid/0/pointer", code)


def test_the_same_number_twice() -> None:
    axis = {"pointer": "/training_mix/penalty", "values": [1.0]}
    with pytest.raises(InvalidInput) as caught:
        expand(request([axis, axis]))
    assert [(e.pointer, e.code) for e in caught.value.errors] == [("/grid/1/pointer", "named_twice")]


def test_a_value_that_is_not_allowed_there_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        expand(request([{"pointer": "/training_mix/penalty", "values": [0.1, -0.1]}]))
    [error] = caught.value.errors
    assert error.pointer == "/grid/0/values/1"
    assert "greater than or equal to 0" in error.message


def test_a_fraction_of_a_generation_is_not_allowed() -> None:
    with pytest.raises(InvalidInput):
        expand(request([{"pointer": "/training_mix/generations", "values": [1.5]}]))


def test_too_many_points_are_refused_before_they_are_made() -> None:
    axes = [
        {"pointer": f"/dataset/spectrum/values/{i}", "values": [float(v) for v in range(1, 257)]}
        for i in range(3)
    ]
    with pytest.raises(InvalidInput, match=f"at most {MAX_POINTS}") as caught:
        expand(request(axes))
    assert caught.value.errors[0].pointer == "/grid"
