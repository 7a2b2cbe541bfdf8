"""The function that a Ray cluster runs, without a cluster: what it imports, and from where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imu_video.runtime.workers import _entry

cloudpickle = pytest.importorskip("cloudpickle", reason="Ray has a copy of it to pickle functions")

# A worker as Ray starts one: the driver's working folder first on the search path, then function and arguments arrive.
WORKER = """
import cloudpickle, sys, types
sys.modules["ray"] = types.SimpleNamespace(get=lambda reference: reference)
sys.path.insert(0, {working!r})
call = cloudpickle.loads(open({function!r}, "rb").read())
assert "imu_video" not in sys.modules, "imported before the folder was dropped"
print(call("token", [len, "abc"]), {working!r} in sys.path)
"""


def answer(working: Path, searched: list[str], function: Path) -> subprocess.CompletedProcess[str]:
    function.write_bytes(cloudpickle.dumps(_entry(str(working), searched)))
    text = WORKER.format(working=str(working), function=str(function))
    return subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True, check=False)


def test_a_worker_of_ray_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    for name in ("imu_video.py", "filelock.py", "secrets.py"):
        (tmp_path / "user" / name).write_text("raise SystemExit('a file of the user was executed')\n")
    done = answer(tmp_path / "user", ["/elsewhere"], tmp_path / "function")
    assert (done.returncode, done.stdout) == (0, "(3, None) False\n"), done.stderr


@pytest.mark.slow  # starts a cluster
@pytest.mark.parametrize("searched", ["", "working folder"])
def test_a_working_folder_of_the_driver_itself_is_kept(searched: str, tmp_path: Path) -> None:
    """A script that imports its neighbours does so in the workers too."""
    done = answer(tmp_path, ["/elsewhere", searched and str(tmp_path)], tmp_path / "function")
    assert (done.returncode, done.stdout) == (0, "(3, None) True\n"), done.stderr
