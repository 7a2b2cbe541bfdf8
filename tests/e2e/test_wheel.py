"""The wheel and the source distribution contain the shipped encoders and configs, which load from an installed copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.bundle.shipped import FACTS, tiny

ROOT = Path(__file__).resolve().parents[2]
BUILD = "from setuptools.build_meta import build_sdist, build_wheel; build_sdist('dist'); build_wheel('dist')"
SHIP = """
import sys
from imu_video.bundle import ship
import json
ship.ship('exported', ship.Facts(name='imu-video/small', **json.loads(sys.argv[1])))
"""
USE = """
import sys, imu_video, numpy as np
from pathlib import Path
assert 'site' in Path(imu_video.__file__).parts, imu_video.__file__
names = [one.name for one in imu_video.list_pretrained()]
assert 'imu-video/small' in names
for name in names:
    windows = np.random.default_rng(0).normal(9.8, 1, (2, 6, 200))
    encoder = imu_video.load_encoder(name)
    assert encoder.encode(windows, rate_hz=50).shape == (2, encoder.feature_dim)
print(*names)
"""


@pytest.mark.slow
def test_an_installed_wheel_loads_its_encoders(tmp_path: Path) -> None:
    """A copy of the tree ships a small encoder beside those of the package; no network is used."""
    pytest.importorskip("setuptools", minversion="77")
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "tests", "docs", "studies", "*.npz")
    shutil.copytree(ROOT, tree, ignore=left_out)
    tiny().save(tree / "exported")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def python(code: str, *words: str, path: Path) -> str:
        # An editable installation of this clone is found after the paths that come first here.
        start = f"import sys; sys.path.insert(0, {str(path)!r})\n"
        done = subprocess.run(
            [sys.executable, "-P", "-c", start + code, *words],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    python(SHIP, json.dumps(FACTS), path=tree)
    python(BUILD, path=tree)
    expected = {
        f"imu_video/pretrained/{path.relative_to(tree / 'imu_video' / 'pretrained').as_posix()}"
        for path in (tree / "imu_video" / "pretrained").rglob("*")
        if path.is_file()
    }
    assert {"index.json", "README.md", "config.json", "model.safetensors"} <= {Path(name).name for name in expected}
    wheel = next((tree / "dist").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert expected <= names
    assert "imu_video/configs/eval/base.yaml" in names
    with tarfile.open(next((tree / "dist").glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert expected <= inside
    assert "imu-video/small" in python(USE, path=tmp_path / "site")
