"""Derived arrays are checked before their rows are used: damage, lazy checks, indexing, statistics."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.config import digest
from imu_video.shards.reading import array_files, arrays
from imu_video.shards.reading.array_files import ArrayWriter, save_array
from imu_video.shards.reading.arrays import ArrayFacts, CheckedArray, check_rows, plain
from tests.faults.array_damage import KINDS, damaged


class Damaged(Exception):
    pass


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "BLOCK_BYTES", 200)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 200)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 2, 6)).astype(np.float32)


def opened(path: Path, facts: ArrayFacts | None, **options: Any) -> CheckedArray:
    return CheckedArray(path, facts, refuse=Damaged, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_is_found(kind: str, rows: np.ndarray, tmp_path: Path) -> None:
    facts = save_array(tmp_path / "a.npy", rows)
    save_array(tmp_path / "b.npy", rows + 1)
    np.testing.assert_array_equal(opened(tmp_path / "a.npy", facts), rows)
    assert damaged(kind, tmp_path / "a.npy", tmp_path / "b.npy")
    with pytest.raises(Damaged):
        opened(tmp_path / "a.npy", facts).check()
    with pytest.raises(Damaged):  # the hash of the file, of a version without hashes of blocks
        opened(tmp_path / "a.npy", None, sha256=facts.sha256, dtypes=("<f4",)).check()


def test_a_file_equals_that_of_numpy_and_its_description_is_json(rows: np.ndarray, tmp_path: Path) -> None:
    rows[3, 1, 2] = np.nan
    names = [f"{a}.{b}" for a in "xy" for b in "abcdef"]
    facts = save_array(tmp_path / "a.npy", rows, names=names)
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert (facts.shape, facts.dtype, facts.block_rows, facts.blocks) == ((30, 2, 6), "<f4", 4, 8)
    assert ArrayFacts.model_validate(facts.plain()) == facts
    assert len(digest(facts.plain())) == 12
    one = facts.statistics["y.c"]
    np.testing.assert_allclose((one.mean, one.sd), (np.nanmean(rows[:, 1, 2]), np.nanstd(rows[:, 1, 2])), rtol=1e-6)
    assert (one.min, one.max) == (np.nanmin(rows[:, 1, 2]), np.nanmax(rows[:, 1, 2]))
    assert (one.finite, one.non_finite, facts.statistics["x.a"].finite) == (29, 1, 30)
    with pytest.raises(FileExistsError):
        save_array(tmp_path / "a.npy", rows)


def test_rows_in_pieces_of_any_size_give_the_same_file(rows: np.ndarray, tmp_path: Path) -> None:
    whole = save_array(tmp_path / "a.npy", rows)
    for number, sizes in enumerate(((1,) * 30, (3, 20, 7))):
        path, at = tmp_path / f"{number}.npy", 0
        with ArrayWriter(path, rows.shape, "<f4") as writer:
            for size in sizes:
                writer.write(rows[at : at + size])
                at += size
        assert path.read_bytes() == (tmp_path / "a.npy").read_bytes()
        assert writer.facts.crc32 == whole.crc32
    with (
        pytest.raises(ValueError, match="3 rows were written, expected 30"),
        ArrayWriter(tmp_path / "c.npy", rows.shape, "<f4") as short,
    ):
        short.write(rows[:3])


def test_each_block_is_read_once_and_only_when_it_is_used(
    rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = opened(tmp_path / "a.npy", save_array(tmp_path / "a.npy", rows))
    read: list[int] = []
    real = CheckedArray._check_block
    monkeypatch.setattr(
        CheckedArray, "_check_block", lambda self, block, buffer: (read.append(block), real(self, block, buffer))
    )
    assert len(array) == 30
    assert read == []
    for key, blocks in (
        (5, [1]),
        (np.array([6, 29, 28]), [7]),
        (slice(7, 13), [2, 3]),
        ((-1, 0), []),
        (slice(19, 16, -1), [4]),
        ((np.array([20, -7]), np.array([0, 1])), [5]),
        (np.arange(30) == 0, [0]),
        (..., [6]),
        (slice(None), []),
    ):
        read.clear()
        np.testing.assert_array_equal(array[key], rows[key])
        assert read == blocks


def test_damage_of_one_block_names_its_rows_and_spares_the_others(rows: np.ndarray, tmp_path: Path) -> None:
    facts = save_array(tmp_path / "a.npy", rows)
    changed = rows.copy()
    changed[9, 0, 0] += 1e-3
    np.save(tmp_path / "a.npy", changed)
    array = opened(tmp_path / "a.npy", facts)
    np.testing.assert_array_equal(array[12:], rows[12:])
    for read in (
        lambda: array[9],
        lambda: array[0:30:5],
        lambda: np.asarray(array),
        lambda: array.mean(),
        lambda: array + 1,
    ):
        with pytest.raises(Damaged, match="rows 8 to 11 are not those that were written"):
            read()


def test_a_file_truncated_after_it_was_opened_is_an_error(rows: np.ndarray, tmp_path: Path) -> None:
    array = opened(tmp_path / "a.npy", save_array(tmp_path / "a.npy", rows))
    array.check()
    os.truncate(tmp_path / "a.npy", 200)
    with pytest.raises(Damaged, match="has 200 bytes, had 1568 when it was opened"):
        array.check(np.array([29]))


def test_it_is_used_like_an_array(rows: np.ndarray, tmp_path: Path) -> None:
    array = opened(tmp_path / "a.npy", save_array(tmp_path / "a.npy", rows))
    assert (array.shape, array.ndim, array.size, array.nbytes, array.dtype) == ((30, 2, 6), 3, 360, 1440, np.float32)
    np.testing.assert_array_equal(array * 2 - array, rows)
    np.testing.assert_array_equal(np.concatenate([array, rows]), np.concatenate([rows, rows]))
    assert np.isfinite(array).all()
    assert array.sum() == rows.sum()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)), rows)
    assert plain(rows) is rows
    check_rows(rows, np.array([0]))
    with pytest.raises(AttributeError, match="_missing"):
        _ = array._missing
    with pytest.raises(IndexError):
        _ = array[30]
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(array)[0] = 0


def test_without_description_type_shape_and_values_are_checked(rows: np.ndarray, tmp_path: Path) -> None:
    def reason(some: np.ndarray) -> str | None:
        return "infinite" if np.isinf(some).any() else None

    rows[17, 0, 0] = np.inf
    np.save(tmp_path / "a.npy", rows)
    array = opened(tmp_path / "a.npy", None, dtypes=("<f4",), examine=reason)
    assert (array.hashed, array.shape) == ("no", (30, 2, 6))
    np.testing.assert_array_equal(array[:16], rows[:16])
    with pytest.raises(Damaged, match="rows 16 to 19: infinite"):
        array[17]
    for wrong in (rows.astype("<f8"), rows.astype(">f4"), np.asfortranarray(rows), np.float32(1)):
        np.save(tmp_path / "b.npy", wrong)
        with pytest.raises(Damaged, match=r"expected <f4 in C order"):
            opened(tmp_path / "b.npy", None, dtypes=("<f4",))
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(Damaged, match="Python objects"):
        opened(tmp_path / "c.npy", None, dtypes=("<f4",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bytes": 5}, "5 bytes do not hold"),
        ({"crc32": "00000000"}, "1 hashes, expected 9"),
        ({"shape": [-1, 2]}, "negative axis"),
        ({"dtype": "O"}, "dtype"),
        ({"shape": []}, "shape"),
    ],
)
def test_descriptions_that_contradict_themselves(
    change: dict[str, Any], message: str, rows: np.ndarray, tmp_path: Path
) -> None:
    facts = save_array(tmp_path / "a.npy", rows).plain()
    with pytest.raises(ValueError, match=message):
        ArrayFacts.model_validate({**facts, **change})
