"""The life of the rows: kept, deleted, brought back, gone missing, predicted and simulated."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from sklearn.datasets import load_digits
from uploads import LABELS, ROWS, created, nothing_left, post

from service.datasets import describe, files, store
from service.datasets.schemas import LinearMap, UploadOptions
from service.errors import NotFound, RowsDeleted
from service.settings import Settings
from service.simulation.engine import last_totals, simulate
from service.simulation.process import Process
from service.theory.model import REAL, Source, Stage, TrainingMix

pytestmark = pytest.mark.anyio


# --- delete, and what is left -------------------------------------------------------------------------------


async def test_rows_are_kept_deleted_and_brought_back(
    client: httpx.AsyncClient, app: FastAPI, settings: Settings
) -> None:
    answer = await created(client)
    identity = answer["id"]
    async with app.state.database.transaction() as connection:
        problem = await store.empirical_problem(connection, identity, settings.rows_dir)
        population = await store.population(connection, identity)
    np.testing.assert_array_equal(np.load(problem.rows), ROWS)
    np.testing.assert_allclose(np.load(problem.truth), LABELS, atol=1e-9)
    assert population.eigenvalues.tolist() == answer["dataset"]["spectrum"]["values"]
    assert population.noise_variance == 0.01

    assert (await client.delete(f"/v1/datasets/{identity}")).status_code == 204
    assert (await client.delete(f"/v1/datasets/{identity}")).status_code == 204
    assert nothing_left(settings)
    assert (await client.get(f"/v1/datasets/{identity}")).json()["rows_deleted_at"] is not None
    async with app.state.database.transaction() as connection:
        await store.population(connection, identity)
        with pytest.raises(RowsDeleted):
            await store.empirical_problem(connection, identity, settings.rows_dir)

    back = await post(client)
    assert back.status_code == 200
    assert back.json() == answer
    async with app.state.database.transaction() as connection:
        await store.empirical_problem(connection, identity, settings.rows_dir)


async def test_rows_that_another_description_needs_stay(
    client: httpx.AsyncClient, app: FastAPI, settings: Settings
) -> None:
    first = (await created(client))["id"]
    second = (await created(client, feature_map='{"kind": "linear"}'))["id"]
    await client.delete(f"/v1/datasets/{first}")
    async with app.state.database.transaction() as connection:
        problem = await store.empirical_problem(connection, second, settings.rows_dir)
        np.testing.assert_array_equal(np.load(problem.rows), ROWS)
        with pytest.raises(RowsDeleted):
            await store.empirical_problem(connection, first, settings.rows_dir)
    await client.delete(f"/v1/datasets/{second}")
    assert nothing_left(settings)


async def test_files_that_went_missing_count_as_deleted(
    client: httpx.AsyncClient, app: FastAPI, settings: Settings
) -> None:
    identity = (await created(client))["id"]
    files.remove(files.truth_path(settings.rows_dir, identity))
    async with app.state.database.transaction() as connection:
        with pytest.raises(RowsDeleted):
            await store.empirical_problem(connection, identity, settings.rows_dir)
    assert (await post(client)).status_code == 200
    async with app.state.database.transaction() as connection:
        await store.empirical_problem(connection, identity, settings.rows_dir)


async def test_unknown_data_sets_are_not_found(app: FastAPI, settings: Settings) -> None:
    async with app.state.database.transaction() as connection:
        for ask in (store.population, store.fetch):
            with pytest.raises(NotFound):
                await ask(connection, "dst_" + 26 * "b")
        with pytest.raises(NotFound):
            await store.empirical_problem(connection, "dst_" + 26 * "b", settings.rows_dir)


def test_working_folders_of_dead_processes_are_cleared(tmp_path: Path) -> None:
    import os

    old, young = (tmp_path / "incoming" / name for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    os.utime(old, (0, 0))
    with files.working_folder(tmp_path) as folder:
        assert sorted(path.name for path in folder.parent.iterdir()) == sorted(["young", folder.name])
    assert not folder.exists()


# --- the whole way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feature_map", ['{"kind": "rbf"}', '{"kind": "polynomial", "degree": 3}'])
async def test_digits_predicted_and_simulated(
    client: httpx.AsyncClient, app: FastAPI, settings: Settings, feature_map: str
) -> None:
    """Real images from file to simulation: the prediction within three standard errors and 3 % of 60 replicates."""
    X, digits = load_digits(return_X_y=True)
    buffer = io.BytesIO()
    np.savez(buffer, images=X[:600], digits=digits[:600])
    answer = await created(
        client, file=buffer.getvalue(), target="digits", feature_map=feature_map, noise_variance="0.1",
        target_transform='{"kind": "modulo", "divisor": 2}',
    )  # fmt: skip
    request = {
        "dataset": answer["id"],
        "training_mix": {
            "kind": "recursive", "generations": 1, "generator": {"samples": 200, "penalty": 0.01},
            "samples": 150, "penalty": 0.01,
        },
    }  # fmt: skip
    predicted = (await client.post("/v1/predictions", json=request)).json()["test_error"]["total"]
    mix = TrainingMix(
        (
            Stage("generator", (Source("s", REAL, 200, 0.1),), 0.01),
            Stage("final", (Source("s", "generator", 150, 0.1),), 0.01),
        )
    )
    async with app.state.database.transaction() as connection:
        problem = await store.empirical_problem(connection, answer["id"], settings.rows_dir)
    process = Process(mix, 0.1)
    errors = last_totals([process], simulate(problem, [process], 1, 0, 60))[0]
    standard_error = errors.std(ddof=1) / np.sqrt(60)
    assert abs(predicted - errors.mean()) < 3 * standard_error + 0.03 * errors.mean()


def test_numbers_of_absurd_units_are_refused(tmp_path: Path) -> None:
    from service.datasets.ingest import Ingested

    np.save(tmp_path / "rows.npy", 1e-200 * ROWS)
    np.save(tmp_path / "labels.npy", LABELS)
    ingested = Ingested(60, 3, "y", "", "", tmp_path / "rows.npy", tmp_path / "labels.npy")
    outcome = describe.describe(
        ingested, UploadOptions(feature_map=LinearMap(kind="linear"), noise_variance=0.0)
    )
    assert "too small" in str(outcome)
