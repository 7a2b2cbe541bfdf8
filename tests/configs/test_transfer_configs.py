"""Encoders for the benchmark of domain shift share a student and a schedule; the benchmark's driver explains itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imu_video.config import load_config
from pretrain.config import PretrainConfig
from pretrain.prepare.needs import needs_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "study" / "transfer"
ROWS = sorted(p for p in FOLDER.glob("*.yaml") if p.stem != "base")


@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.stem)
def test_rows_share_student_and_schedule(path: Path) -> None:
    base, row = (load_config(p, PretrainConfig) for p in (FOLDER / "base.yaml", path))
    for key in ("encoder", "augment", "optim", "run"):
        assert getattr(row, key) == getattr(base, key), key
    needs = needs_of(row)
    assert needs.skeleton == (row.tower is not None), "a tower that nothing looks at"
    # The driver names the folders itself: a row that looks at clips has the motion capture alone.
    assert ("root: data/bandai" in path.read_text()) == (row.data.teacher == "frames")


def test_the_driver_explains_itself_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    driver = ROOT / "benchmarks" / "ood.sh"

    def call(*words: str) -> tuple[int, str]:
        told = subprocess.run([driver, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        return told.returncode, told.stderr

    code, told = call()
    assert code == 2
    assert "benchmarks/ood.sh encoder imu_video" in told
    assert "OOD=folder" in told
    assert call("scratch", "nothing") == (2, "no scenario nothing in configs/eval/ood\n")
    assert call("encoder", "nothing") == (2, "no row nothing in configs/study/transfer\n")
    code, told = call("pretrained", "hapt_person", "nothing")
    assert (code, told) == (2, "no encoder ood-run/encoders/nothing\n")
    assert not list(tmp_path.iterdir())
