"""Damaged archives through every adapter and reader that opens one: one error with the archive's name, or all of it.

The fault to find is a read that silently lacks members, so content is compared to the last digit.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from imu_video.datasets.realworld import RealWorld
from imu_video.errors import DataError
from imu_video.readers import EmpaticaE4, Gt3x, MetaMotion, Phyphox, SensorLogger
from tests.faults.archives import damaged_archive
from tests.faults.conftest import Score

pytestmark = [pytest.mark.slow, pytest.mark.faults]
SEEDS = range(600)
"""Per adapter or reader."""


def beside(*parts: str) -> ModuleType:
    path = Path(__file__).parents[1].joinpath(*parts)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def content_of(value: Any) -> Any:
    """A reading or recording as plain values that compare equal exactly where it is the same."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if dataclasses.is_dataclass(value):
        return {f.name: content_of(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: content_of(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [content_of(one) for one in value]
    return value


def realworld(folder: Path) -> tuple[list[Path], Callable[[], Any]]:
    beside("datasets", "trees.py").realworld(folder)
    data = folder / "realworld2016_dataset"
    files = sorted(data.rglob("*_csv.zip"))
    return files, lambda: [r for s in ("p01", "p02") for r in RealWorld(root=str(folder)).recordings([s])]


def reader(reader_of: Any, made: Path) -> tuple[list[Path], Callable[[], Any]]:
    return [made], lambda: reader_of.read(made)


CASES: dict[str, Callable[[Path], tuple[list[Path], Callable[[], Any]]]] = {
    "dataset realworld, nested archives": realworld,
    "reader phyphox, zip": lambda f: reader(Phyphox(), beside("readers", "files.py").phyphox(f, "zip")),
    "reader phyphox, xlsx": lambda f: reader(Phyphox(), beside("readers", "files.py").phyphox(f, "xlsx")),
    "reader sensor_logger, zip": lambda f: reader(
        SensorLogger(), beside("readers", "files.py").sensor_logger(f, "zip")
    ),
    "reader metamotion, zip": lambda f: reader(MetaMotion(), beside("readers", "files.py").metamotion(f, "zip")),
    "reader gt3x": lambda f: reader(Gt3x(), beside("readers", "device_files.py").gt3x(f, imu=True)),
    "reader empatica_e4, zip": lambda f: reader(EmpaticaE4(), beside("readers", "device_files.py").empatica_e4(f)),
}


@pytest.mark.parametrize("case", CASES)
def test_archives(case: str, tmp_path: Path, score: Score) -> None:
    files, read = CASES[case](tmp_path)
    before = {path: path.read_bytes() for path in files}
    truth = content_of(read())
    with score(f"damaged archives: {case}") as counted:
        for seed in SEEDS:
            rng = np.random.default_rng([seed, 12])
            path = files[int(rng.integers(len(files)))]
            way, data = damaged_archive(before[path], rng)
            path.write_bytes(data)
            try:
                right, what = content_of(read()) == truth, "read with other content"
            except DataError as error:
                right, what = path.name in str(error) or str(path.parent) in str(error), f"names no file: {error}"
            except Exception as error:
                right, what = False, f"{type(error).__name__}: {error}"
            counted.add(right, f"seed {seed}, {way}: {what}")
            path.write_bytes(before[path])
