"""Every format gives the same canonical rows; what is wrong with a file is said, with its place and a way out."""

import gzip
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from service.datasets import ingest as ingesting
from service.datasets import limits
from service.datasets.ingest import Ingested, Upload, ingest
from service.datasets.schemas import LinearMap, UploadOptions
from service.errors import InvalidInput

RNG = np.random.default_rng(7)
X = RNG.standard_normal((40, 3))
Y = np.arange(40.0)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def csv(header: str | None = "a,b,c,y", rows: Any = None) -> bytes:
    table = np.column_stack([X, Y]) if rows is None else rows
    lines = [",".join(repr(float(v)) for v in row) for row in table]
    return "\n".join(([header] if header else []) + lines).encode() + b"\n"


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def idx(array: Any, code: int = 0x0E, kind: str = ">f8") -> bytes:
    array = np.asarray(array)
    head = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(kind).tobytes()


def run(
    folder: Path, file: bytes, target_file: bytes | None = None, limit: int = 10**8, **options: Any
) -> Ingested | InvalidInput:
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(file)
    labels = None
    if target_file is not None:
        labels = folder / "labels"
        labels.write_bytes(target_file)
    chosen = UploadOptions(feature_map=LinearMap(kind="linear"), **options)
    return ingest(Upload(folder / "file", labels, chosen, folder, limit))


def good(*args: Any, **options: Any) -> Ingested:
    outcome = run(*args, **options)
    assert isinstance(outcome, Ingested), outcome
    return outcome


def refused(*args: Any, **options: Any) -> tuple[str, str, str]:
    """Pointer, code and message of the one error."""
    outcome = run(*args, **options)
    assert isinstance(outcome, InvalidInput), outcome
    (error,) = outcome.errors
    assert outcome.detail == f"{error.pointer.removeprefix('/')}: {error.message}"
    return error.pointer, error.code, error.message


TABLE = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": Y}
MATRIX = np.column_stack([X, Y])
FORMS: dict[str, tuple[bytes, bytes | None, dict[str, Any]]] = {
    "npy and npy": (npy(X), npy(Y), {}),
    "npy by column": (npy(MATRIX), None, {"target": "3"}),
    "npy of Fortran order": (npy(np.asfortranarray(MATRIX)), None, {"target": "3"}),
    "npy big-endian": (npy(X.astype(">f8")), npy(Y.astype(">i4")), {}),
    "npy of three axes": (npy(X.reshape(40, 3, 1)), npy(Y[:, None]), {}),
    "npy.gz": (gzip.compress(npy(X)), gzip.compress(npy(Y)), {}),
    "npz": (npz(images=X, labels=Y), None, {"target": "labels"}),
    "npz of three": (npz(images=X, labels=Y, other=Y), None, {"target": "labels", "features": "images"}),
    "npz with a file of labels": (npz(images=X), npz(y=Y, z=Y + 1), {"target": "y"}),
    "csv": (csv(), None, {"target": "y"}),
    "csv.gz": (gzip.compress(csv()), None, {"target": "y"}),
    "csv of Windows": (b"\xef\xbb\xbf" + csv().replace(b"\n", b"\r\n"), None, {"target": "y"}),
    "csv with quotes": (csv('"a","b","c","y"'), None, {"target": "y"}),
    "csv without header": (csv(None), None, {"target": "3"}),
    "csv and labels": (csv("a,b,c", X), csv("y", Y[:, None]), {}),
    "csv and one of many labels": (csv("a,b,c", X), csv("z,y", np.column_stack([Y + 1, Y])), {"target": "y"}),
    "parquet": (parquet(TABLE, row_group_size=7), None, {"target": "y"}),
    "parquet of integers": (parquet(TABLE | {"y": Y.astype(np.int8)}), None, {"target": "y"}),
    "idx": (idx(X), idx(Y.astype(int), 0x08, ">u1"), {}),
    "idx.gz": (gzip.compress(idx(X)), gzip.compress(idx(Y.astype(int), 0x08, ">u1")), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    file, labels, options = FORMS[form]
    ingested = good(tmp_path, file, labels, **options)
    reference = good(tmp_path / "reference", npy(X), npy(Y))
    np.testing.assert_array_equal(np.load(ingested.rows), X)
    np.testing.assert_array_equal(np.load(ingested.labels), Y)
    assert ingested.content_hash == reference.content_hash
    assert ingested.rows_hash == reference.rows_hash
    assert (ingested.count, ingested.columns) == (40, 3)


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u4", "i8", "f2", "f4", "f8", "?", "f16"])
def test_every_numeric_type_is_read(tmp_path: Path, kind: str) -> None:
    array = RNG.integers(0, 2, (20, 3)).astype(kind)
    ingested = good(tmp_path, npy(array), npy(Y[:20]))
    np.testing.assert_array_equal(np.load(ingested.rows), array.astype(float))


def test_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = good(tmp_path / "a", csv(), target="y")
    monkeypatch.setattr("service.datasets.arrays.CHUNK_NUMBERS", 7)
    assert good(tmp_path / "b", npy(MATRIX), target="3").content_hash == whole.content_hash
    monkeypatch.setattr("service.datasets.tables.CHUNK_NUMBERS", 7)
    monkeypatch.setattr("service.datasets.tables._HEAD", 1000)
    assert good(tmp_path / "c", csv(), target="y").content_hash == whole.content_hash
    assert good(tmp_path / "d", parquet(TABLE), target="y").content_hash == whole.content_hash


def test_hash_sees_every_number_the_shape_and_the_labels(tmp_path: Path) -> None:
    base = good(tmp_path / "0", npy(X), npy(Y)).content_hash
    changed = X.copy()
    changed[39, 2] = np.nextafter(changed[39, 2], 1)
    labels = Y.copy()
    labels[0] = 0.5
    variants = [(changed, Y), (X, labels), (X.reshape(20, 6), Y[:20]), (X[::-1], Y)]
    hashes = {good(tmp_path / f"v{i}", npy(a), npy(b)).content_hash for i, (a, b) in enumerate(variants)}
    assert len(hashes | {base}) == 5


def test_many_rows_are_sampled_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingesting, "MAX_ROWS", 25)
    first, second = (good(tmp_path / name, npy(X), npy(Y)) for name in "ab")
    rows, labels = np.load(first.rows), np.load(first.labels)
    assert first.sampled
    assert (first.count, len(rows)) == (40, 25)
    # Rows keep their labels and their order, none twice.
    assert (np.diff(labels) > 0).all()
    np.testing.assert_array_equal(rows, X[labels.astype(int)])
    np.testing.assert_array_equal(np.load(second.rows), rows)
    assert "25 of the 40 rows" in ingesting.sample_description(first)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({"kind": "identity"}, Y),
        ({"kind": "modulo", "divisor": 2}, np.arange(40) % 2),
        ({"kind": "equals", "value": 7}, np.arange(40) == 7),
    ],
)
def test_target_transforms(tmp_path: Path, transform: dict[str, Any], expected: Any) -> None:
    ingested = good(tmp_path, npy(X), npy(Y), target_transform=transform)
    np.testing.assert_array_equal(np.load(ingested.labels), expected)


def test_modulo_of_fractions_is_refused(tmp_path: Path) -> None:
    pointer, code, _ = refused(
        tmp_path, npy(X), npy(Y + 0.5), target_transform={"kind": "modulo", "divisor": 2}
    )
    assert (pointer, code) == ("/target_transform", "not_whole")


# --- targets ----------------------------------------------------------------------------------------


def test_a_missing_target_lists_the_columns_there_are(tmp_path: Path) -> None:
    pointer, code, message = refused(tmp_path, csv(), target="label")
    assert (pointer, code) == ("/target", "unknown_column")
    assert "'a', 'b', 'c', 'y'" in message
    pointer, code, message = refused(tmp_path, csv())
    assert (pointer, code) == ("/target", "missing")
    assert "'a', 'b', 'c', 'y'" in message
    pointer, code, message = refused(tmp_path, npy(MATRIX), target="4")
    assert (pointer, code) == ("/target", "unknown_column")
    assert "0 to 3" in message
    pointer, code, message = refused(tmp_path, npz(images=X, labels=Y), target="y")
    assert (pointer, code) == ("/target", "unknown_array")
    assert "'images'" in message
    pointer, code, message = refused(tmp_path, npz(images=X, labels=Y, more=Y), target="labels")
    assert (pointer, code) == ("/features", "missing")
    assert "'more'" in message
    assert refused(tmp_path, npy(X), npy(Y), features="x")[:2] == ("/features", "not_npz")


def test_long_lists_of_columns_are_cut(tmp_path: Path) -> None:
    names = ",".join(f"column{i}" for i in range(100))
    _, _, message = refused(tmp_path, csv(names, RNG.standard_normal((12, 100))))
    assert "and 80 more" in message


@pytest.mark.parametrize("labels", [np.zeros(40), np.full(40, 3.5)])
def test_constant_targets_are_refused(tmp_path: Path, labels: Any) -> None:
    assert refused(tmp_path, npy(X), npy(labels))[:2] == ("/target", "constant_target")


def test_a_target_that_the_transform_makes_constant_is_refused(tmp_path: Path) -> None:
    outcome = refused(tmp_path, npy(X), npy(2 * Y), target_transform={"kind": "modulo", "divisor": 2})
    assert outcome[1] == "constant_target"


# --- shapes and numbers -------------------------------------------------------------------------------


HOSTILE: dict[str, tuple[bytes, bytes | None, str, str, str]] = {
    "lengths": (
        npy(X),
        npy(Y[:39]),
        "/target_file",
        "mismatched_lengths",
        "40 rows of features and 39 labels",
    ),
    "two label columns": (npy(X), npy(MATRIX[:, :2]), "/target_file", "wrong_shape", "2 columns"),
    "few rows": (npy(X[:9]), npy(Y[:9]), "/file", "too_few_rows", "at least 10"),
    "no rows": (npy(X[:0]), npy(Y), "/file", "empty", "no rows"),
    "scalar": (npy(np.float64(3)), npy(Y), "/file", "", ""),
    "empty file": (b"", npy(Y), "/file", "empty", "empty"),
    "empty labels": (npy(X), b"", "/target_file", "empty", "empty"),
    "empty gzip": (gzip.compress(b""), npy(Y), "/file", "empty", "empty"),
    "blank": (b"  \n\n", npy(Y), "/file", "empty", "empty"),
    "NaN": (npy(np.where(X[7, 1] == X, np.nan, X)), npy(Y), "/file", "not_finite", "row 7, column '1'"),
    "inf": (npy(np.where(X[7, 1] == X, -np.inf, X)), npy(Y), "/file", "not_finite", "row 7, column '1'"),
    "NaN label": (npy(X), npy(np.where(Y == 3, np.nan, Y)), "/target_file", "not_finite", "row 3"),
    "1e16": (npy(np.where(X[7, 1] == X, 1e16, X)), npy(Y), "/file", "too_large_number", "1e+15"),
    "zeros": (npy(0 * X), npy(Y), "/file", "constant_features", "zero"),
    "objects": (npy(np.array([{}] * 40), allow_pickle=True), npy(Y), "/file", "pickle", "not read"),
    "strings": (npy(np.array(["a"] * 40)), npy(Y), "/file", "wrong_dtype", "str"),
    "complex": (npy(X * 1j), npy(Y), "/file", "wrong_dtype", "complex128"),
    "records": (npy(np.zeros(40, dtype=[("a", "f8")])), npy(Y), "/file", "wrong_dtype", ""),
    "dates": (npy(np.zeros(40, dtype="M8[s]")), npy(Y), "/file", "wrong_dtype", ""),
    "npy cut off": (npy(X)[:-8], npy(Y), "/file", "invalid_npy", "cut off"),
    "npy head only": (npy(X)[:40], npy(Y), "/file", "invalid_npy", "cut off"),
    "npy of version 9": (b"\x93NUMPY\x09\x00" + npy(X)[8:], npy(Y), "/file", "invalid_npy", ""),
    "npy lies": (npy(X).replace(b"(40, 3)", b"(9**9,)"), npy(Y), "/file", "invalid_npy", ""),
    "gzip cut off": (gzip.compress(npy(X))[:-20], npy(Y), "/file", "invalid_gzip", "cut off"),
    "gzip damaged": (gzip.compress(npy(X))[:12] + b"xx" * 300, npy(Y), "/file", "invalid_gzip", "damaged"),
    "gzip twice": (gzip.compress(gzip.compress(npy(X))), npy(Y), "/file", "nested_compression", "twice"),
    "zip cut off": (npz(x=X)[:-30], npy(Y), "/file", "invalid_npz", ""),
    "zip of text": (b"PK\x05\x06" + bytes(18), npy(Y), "/file", "not_npz", "savez"),
    "idx cut off": (idx(X)[:-1], npy(Y), "/file", "invalid_idx", "972 bytes; this has 971"),
    "idx too long": (idx(X) + b"0", npy(Y), "/file", "invalid_idx", "this has 973"),
    "idx head cut off": (idx(X)[:7], npy(Y), "/file", "invalid_idx", "head"),
    "idx of no rows": (idx(X[:0]), npy(Y), "/file", "empty", ""),
    "idx lies": (struct.pack(">4B2I", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1), npy(Y), "/file", "invalid_idx", ""),
    "parquet cut off": (parquet(TABLE)[:-9], npy(Y), "/file", "invalid_parquet", ""),
    "parquet damaged": (b"PAR1" + bytes(100) + b"PAR1", npy(Y), "/file", "invalid_parquet", ""),
    "parquet of text": (
        parquet(TABLE | {"t": ["x"] * 40}),
        npy(Y),
        "/file",
        "wrong_dtype",
        "'t' is of type string",
    ),
    "parquet of lists": (parquet({"l": [[1.0]] * 40}), npy(Y), "/file", "wrong_dtype", "list"),
    "parquet null": (parquet({"a": [None] + [1.0] * 39}), npy(Y), "/file", "not_finite", "row 0, column 'a'"),
    "csv ragged": (csv() + b"1,2,3\n", npy(Y), "/file", "ragged", "4 of the first line"),
    "csv text": (csv() + b"1,2,x,4\n", npy(Y), "/file", "wrong_dtype", "column 'c'"),
    "csv missing": (csv() + b"1,,3,4\n", npy(Y), "/file", "not_finite", "row 40, column 'b'"),
    "csv nan": (csv() + b"1,nan,3,4\n", npy(Y), "/file", "not_finite", "row 40, column 'b'"),
    "csv head only": (b"a,b,c\n", npy(Y), "/file", "too_few_rows", "0 rows"),
    "csv twice a name": (csv("a,a,b,c"), npy(Y), "/file", "duplicate_column", "'a'"),
    "csv of one long line": (b"1," * 3_000_000, npy(Y), "/file", "", ""),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4, npy(Y), "/file", "unknown_format", "none of NPY"),
    "pickle": (b"\x80\x04\x95" + bytes(50), npy(Y), "/file", "unknown_format", ""),
    "latin-1": (b"caf\xe9,b\n1,2\n", npy(Y), "/file", "unknown_format", "UTF-8"),
    "html": (b"<html><body>\x00", npy(Y), "/file", "unknown_format", ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_with_place_and_reason(tmp_path: Path, case: str) -> None:
    file, labels, pointer, code, words = HOSTILE[case]
    found = refused(tmp_path, file, labels)
    assert found[0] == pointer
    if code:
        assert found[1] == code
    assert words in found[2]


def test_arrays_that_hide_pickles_are_refused(tmp_path: Path) -> None:
    """The archive itself is opened without pickles, and so is every array in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", npy(np.array([{}] * 40), allow_pickle=True))
    assert refused(tmp_path, buffer.getvalue(), npy(Y))[1] == "pickle"


def test_zip_archives_of_other_things_are_refused(tmp_path: Path) -> None:
    for members in (
        {"a.txt": b"1"},
        {"../../x.npy": npy(X), "evil.sh": b""},
        {f"{i}.npy": b"" for i in range(65)},
    ):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        assert refused(tmp_path, buffer.getvalue(), npy(Y))[1] in {"not_npz", "too_many_arrays"}


def test_names_in_an_archive_are_never_paths(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../escaped.npy", npy(X))
    good(tmp_path / "inner", buffer.getvalue(), npy(Y))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gzip", "zip", "npy", "csv", "parquet", "idx"])
def test_bombs_are_stopped_at_the_limit(tmp_path: Path, kind: str) -> None:
    """Each expands to 16 MB and is refused at 1 MB; what is on disk by then is no more than the limit and a chunk."""
    array = np.zeros((1000, 2000))
    file = {
        "gzip": lambda: gzip.compress(npy(array)),
        "zip": lambda: npz(x=array),
        "npy": lambda: npy(array.astype("u1")),
        "csv": lambda: b"a,b\n" + b"0,0\n" * 100_000,
        "parquet": lambda: parquet({"a": np.zeros(1_000_000)}, compression="zstd"),
        "idx": lambda: gzip.compress(idx(array, 8, ">u1")),
    }[kind]()
    pointer, code, message = refused(tmp_path, file, npy(Y), limit=10**6)
    assert (pointer, code) == ("/file", "too_large")
    assert "1000000" in message
    written = sum(path.stat().st_size for path in tmp_path.iterdir() if path.name not in {"file", "labels"})
    assert written <= 10**6 + 8 * limits.CHUNK_NUMBERS


def test_zip_members_that_lie_about_their_size_are_stopped(tmp_path: Path) -> None:
    data = bytearray(npz(x=np.zeros((1000, 2000))))
    size = struct.pack("<I", 1000 * 2000 * 8 + 128)
    assert data.count(size) >= 1
    lying = bytes(data).replace(size, struct.pack("<I", 100))
    assert refused(tmp_path, lying, npy(Y), limit=10**6)[1] in {"too_large", "invalid_npz", "invalid_npy"}
    assert sum(path.stat().st_size for path in tmp_path.glob("*.npy")) <= 10**6


def test_columns_and_rows_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((10, limits.MAX_COLUMNS + 1), dtype="u1")
    pointer, code, message = refused(tmp_path, npy(wide), npy(Y[:10]))
    assert (pointer, code) == ("/file", "too_many_columns")
    assert "10000" in message
    names = ",".join(f"c{i}" for i in range(limits.MAX_COLUMNS + 2))
    assert refused(tmp_path, f"{names}\n".encode(), npy(Y))[1] == "too_many_columns"
    monkeypatch.setattr(limits, "MAX_ROWS", 39)
    for file in (npy(X), csv("a,b,c", X), parquet(TABLE)):
        pointer, code, message = refused(tmp_path, file, npy(Y[:10]))
        assert (pointer, code) == ("/file", "too_many_rows")
        assert "39" in message
