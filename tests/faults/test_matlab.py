"""Damaged MATLAB files: a table or one error with the name; the reader of scipy may end its process, not ours."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from imu_video.datasets.matlab import load_mat, load_struct
from imu_video.errors import DataError
from tests.faults.conftest import Score
from tests.faults.mutate import damaged_bytes

pytestmark = [pytest.mark.slow, pytest.mark.faults]
SEEDS = range(600)


@pytest.mark.parametrize("packed", [False, True])
def test_matlab_files(packed: bool, tmp_path: Path, score: Score) -> None:
    """A MATLAB file has no checksum of what it does not compress: other numbers cannot be noticed, deaths can."""
    logging.disable(logging.CRITICAL)
    path = tmp_path / "a1t1.mat"
    rng = np.random.default_rng(0)
    inner = {"Acc": rng.normal(size=(30, 3)), "Fs": {"Acc": 100}, "Name": "walk", "Parts": [{"x": 1.0}, {"x": 2.0}]}
    savemat(path, {"table": rng.normal(size=(40, 6)), "data": inner}, do_compression=packed)
    before = path.read_bytes()
    with score(f"damaged MATLAB files, {'compressed' if packed else 'plain'}") as case:
        for seed in SEEDS:
            way, data = damaged_bytes(before, np.random.default_rng([seed, 13]))
            path.write_bytes(data)
            for read, key in ((load_mat, "table"), (load_struct, "data")):
                try:
                    read(path, key)
                    right, what = True, ""
                except DataError as error:
                    right, what = path.name in str(error), f"names no file: {error}"
                except Exception as error:
                    right, what = False, f"{type(error).__name__}: {error}"
                case.add(right, f"seed {seed}, {way}: {what}")
