"""Every row of the UTD-MHAD study builds, shares student, data and number of updates, and differs in its objective."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imu_video.config import load_config
from pretrain.config import PretrainConfig
from pretrain.prepare.needs import needs_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "study" / "utd_mhad"
ROWS = sorted(p for p in FOLDER.glob("*.yaml") if p.stem != "base")
OWN = {"masked_patchtst": ("encoder", "augment"), "depth": ("batch_size",)}
"""What a row may have of its own, because its task or its data ask for it; the file says so."""


@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.stem)
def test_rows_differ_in_the_objective_only(path: Path) -> None:
    base, row = (load_config(p, PretrainConfig) for p in (FOLDER / "base.yaml", path))
    own = OWN.get(path.stem, ())
    for key in ("encoder", "augment", "optim", "run"):
        assert (getattr(row, key) == getattr(base, key)) == (key not in own), key
    assert (row.data.batch_size == base.data.batch_size) == ("batch_size" not in own)
    assert row.loss != base.loss or row.tower != base.tower or row.data.teacher != base.data.teacher
    needs = needs_of(row)
    assert needs.skeleton == (row.tower is not None), "a tower that nothing looks at"
    # The driver asks the file itself whether there is a skeleton encoder to export.
    assert (row.tower is not None) == any(line.startswith("tower: {") for line in path.read_text().splitlines())


def test_the_driver_explains_itself_and_refuses_unknown_rows(tmp_path: Path) -> None:
    driver = ROOT / "benchmarks" / "utd_mhad.sh"
    told = subprocess.run([driver], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "benchmarks/utd_mhad.sh row imu_video" in told.stderr
    wrong = subprocess.run([driver, "row", "nothing"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "no row nothing in configs/study/utd_mhad\n")
    assert not list(tmp_path.iterdir())
