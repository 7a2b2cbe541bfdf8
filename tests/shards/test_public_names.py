"""Reading a data folder loads neither teachers nor what builds folders."""

from __future__ import annotations

import subprocess
import sys


def test_reading_loads_what_it_needs() -> None:
    names = ("imu_video.teachers", "imu_video.shards.building", "imu_video.shards.features", "torchvision", "timm")
    code = "import sys; from imu_video.shards import load_index, open_columns;"
    code += f"print([name for name in {names} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    )
