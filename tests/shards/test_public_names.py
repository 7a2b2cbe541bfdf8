"""What `imu_video.shards` offers is there, and reading loads neither teachers nor what builds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imu_video import shards


@pytest.mark.parametrize("name", shards.__all__)
def test_every_public_name_is_found_where_it_lives(name: str) -> None:
    found = getattr(shards, name)
    assert found.__name__ == name
    assert found.__module__ == f"imu_video.shards.{shards._HOME[name]}"


def test_the_map_and_the_list_agree() -> None:
    assert list(shards._HOME) == sorted(shards.__all__) == shards.__all__
    with pytest.raises(AttributeError, match="no attribute 'load_indx'"):
        _ = shards.load_indx


def test_reading_loads_what_it_needs() -> None:
    names = ("imu_video.teachers", "imu_video.shards.building", "imu_video.shards.features", "torchvision", "timm")
    code = "import sys; from imu_video.shards import load_index, open_columns;"
    code += f"print([name for name in {names} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    )
