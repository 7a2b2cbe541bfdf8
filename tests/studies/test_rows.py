"""Rows of a study share student, schedule and data, and differ in what the study compares."""

from __future__ import annotations

from pathlib import Path

import pytest

from imu_video.config import load_config
from pretrain.config import PretrainConfig
from pretrain.prepare.needs import needs_of

STUDIES = Path(__file__).resolve().parents[2] / "studies"
UTD_MHAD, TRANSFER = (STUDIES / name / "configs" / "rows" for name in ("utd_mhad", "transfer"))
OWN = {"masked_patchtst": ("encoder", "augment"), "depth": ("batch_size",)}
"""Keys in which a row of UTD-MHAD may differ, because its task or its data require it; its file states the reason."""


def rows(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.yaml") if p.stem != "base")


@pytest.mark.parametrize("path", rows(UTD_MHAD), ids=lambda p: p.stem)
def test_rows_of_utd_mhad_differ_in_the_objective_only(path: Path) -> None:
    base, row = (load_config(p, PretrainConfig) for p in (UTD_MHAD / "base.yaml", path))
    own = OWN.get(path.stem, ())
    for key in ("encoder", "augment", "optim", "run"):
        assert (getattr(row, key) == getattr(base, key)) == (key not in own), key
    assert (row.data.batch_size == base.data.batch_size) == ("batch_size" not in own)
    assert row.loss != base.loss or row.tower != base.tower or row.data.teacher != base.data.teacher
    assert bool(needs_of(row).streams) == (row.tower is not None), "no loss uses the skeleton encoder"


@pytest.mark.parametrize("path", rows(TRANSFER), ids=lambda p: p.stem)
def test_rows_of_the_transfer_study_share_student_and_schedule(path: Path) -> None:
    base, row = (load_config(p, PretrainConfig) for p in (TRANSFER / "base.yaml", path))
    for key in ("encoder", "augment", "optim", "run"):
        assert getattr(row, key) == getattr(base, key), key
    assert bool(needs_of(row).streams) == (row.tower is not None), "no loss uses the skeleton encoder"
    # The runner gives a row that names one folder the motion capture alone, because only its windows all have clips.
    assert (len(row.data.folders) == 1) == (row.data.teacher == "frames")
