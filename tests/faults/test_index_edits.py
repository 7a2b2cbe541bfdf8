"""Edits of the JSON files of a data folder: one error that names file and key, or the same samples; never a traceback.

An edited index that loads must give the samples of the intact one in the same rows, have another digest, or be reported
by `verify`. Complete edits are in `index_edits.py`; a small part of them is in the default suite.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ImuVideoError
from imu_video.shards.damage import quarantined
from imu_video.shards.left_out import read_dropped, read_left_out
from imu_video.shards.quality_report import read_report
from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.reading.pipeline import decode_meta, read_samples
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window
from tests.faults.conftest import Case, Score
from tests.faults.index_edits import edits

OLD = Path(__file__).parents[1] / "fixtures" / "folder_0_1"
LISTS: dict[str, tuple[Any, Callable[[Path], Any]]] = {
    "left_out.json": (
        {
            "recordings": [
                {
                    "recording": "r1",
                    "subject": "s1",
                    "reason": "cut off",
                    "hint": "copy it",
                    "files": {"a.csv": {"bytes": 7, "mtime_ns": 1, "sha256": "0" * 64}},
                    "quarantined": True,
                }
            ]
        },
        read_left_out,
    ),
    "dropped.json": ({"windows": {"r1": {"gap": [0.0, 2.5]}}}, read_dropped),
    "quality.json": (json.loads((OLD / "quality.json").read_text()), read_report),
}


def content(index: Index) -> dict[str, list[Any]]:
    """Everything that a split's rows hold, in order."""
    return {
        split: [
            (
                s.key,
                sorted((name, values.tobytes()) for name, values in s.imu.items()),
                sorted(map(str, s.meta.items())),
            )
            for s in read_samples(index, split, {"imu", "meta"})
        ]
        for split in index.splits
    }


def one_error(file: Path, read: Callable[[], Any]) -> str:
    """Empty where ``read`` returns or raises one error of ours that names the file; else what happened."""
    try:
        read()
    except ImuVideoError as error:
        return "" if str(file.parent) in error.message else f"names no file: {error.message}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def outcome(file: Path, pristine: dict[str, list[Any]], digest: str) -> str:
    """Empty where an edited index is refused, or cannot be mistaken for the intact one."""
    found: list[Index] = []
    wrong = one_error(file, lambda: found.append(load_index(file)))
    if wrong or not found:
        return wrong
    try:
        here = content(found[0])
    except ImuVideoError:
        return ""  # the reader compares every member
    except BaseException as error:
        return f"reading: {type(error).__name__}: {error}"
    if here == pristine or found[0].digest != digest:
        return ""
    return "" if verify(found[0]).problems else "other samples, the same digest, and verify finds nothing"


def count_index(folder: Index, case: Case, every: int) -> None:
    pristine, digest, file = content(folder), folder.digest, folder.root / "index.json"
    whole = file.read_bytes()
    for name, text in edits(json.loads(whole), every=every):
        file.write_bytes(text)
        case.add(not (wrong := outcome(file, pristine, digest)), f"{name}: {wrong}")
    file.write_bytes(whole)


def small_folder(root: Path, version: int) -> Index:
    """Two splits of two and one sample; or the folder of version 0.1."""
    if version == 0:
        return load_index(shutil.copytree(OLD, root))
    import numpy as np

    windows = {
        split: [
            Window(
                key=f"{split}-{i}",
                recording=f"{split}-r",
                subject=f"{split}-s",
                session="1",
                start=float(i),
                label="walk",
                tags={"hand": "left"},
                imu={"wrist": np.full((6, 20), i, np.float32)},
            )
            for i in range(count)
        ]
        for split, count in (("train", 2), ("val", 1))
    }
    index = write_folder(root, windows, rate_hz=10)
    write_index(index.model_copy(update={"schema_version": version}), root)
    return load_index(root)


def count_lists(folder: Path, case: Case, every: int) -> None:
    for name, (document, read) in LISTS.items():
        file = folder / name
        for way, text in edits(document, every=every):
            file.write_bytes(text)
            case.add(not (wrong := one_error(file, lambda read=read: read(folder))), f"{name}, {way}: {wrong}")


def count_quarantine(index: Index, case: Case, every: int) -> None:
    file = index.root / "quarantine" / "train.json"
    file.parent.mkdir(exist_ok=True)
    key = index.split("train").all_keys()[0]
    document = {"split": "train", "digest": index.digest, "samples": {key: "damaged"}}
    for way, text in edits(document, every=every):
        file.write_bytes(text)
        case.add(not (wrong := one_error(file, lambda: quarantined(index, "train"))), f"{way}: {wrong}")
    shutil.rmtree(file.parent)


def count_meta(case: Case, every: int) -> None:
    document = {
        "dataset": "d",
        "flags": ["wrist:flat"],
        "key": "k",
        "label": "walk",
        "recording": "r",
        "session": "1",
        "start": 0.5,
        "subject": "s",
        "sync": {"offset_s": 0.5, "drift_ppm": 0.0, "score": 1.0},
        "tags": {"hand": "left"},
    }
    for way, text in edits(document, every=every):
        try:
            decode_meta(text, "k")
            wrong = ""
        except ImuVideoError as error:
            wrong = "" if "sample 'k', meta.json" in error.message else error.message
        except BaseException as error:
            wrong = f"{type(error).__name__}: {error}"
        case.add(not wrong, f"{way}: {wrong}")


@pytest.mark.parametrize("version", [1, 2])
def test_some_edits_of_the_index(tmp_path: Path, score: Score, version: int) -> None:
    with score(f"some edits of index.json, schema version {version}") as case:
        count_index(small_folder(tmp_path / "data", version), case, every=43)


def test_some_edits_of_lists_and_samples(tmp_path: Path, score: Score) -> None:
    with score("some edits of quality.json, left_out.json, dropped.json, quarantine, meta.json") as case:
        count_lists(tmp_path, case, every=101)
        count_quarantine(small_folder(tmp_path / "data", 2), case, every=29)
        count_meta(case, every=11)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_edit_of_the_index(tmp_path: Path, score: Score, version: int) -> None:
    name = {0: "of version 0.1", 1: "schema version 1", 2: "schema version 2"}[version]
    with score(f"every edit of index.json, {name}") as case:
        count_index(small_folder(tmp_path / "data", version), case, every=1)


@pytest.mark.slow
@pytest.mark.faults
def test_every_edit_of_lists_and_samples(tmp_path: Path, score: Score) -> None:
    with score("every edit of quality.json, left_out.json, dropped.json, quarantine, meta.json") as case:
        count_lists(tmp_path, case, every=1)
        count_quarantine(small_folder(tmp_path / "data", 2), case, every=1)
        count_meta(case, every=1)
