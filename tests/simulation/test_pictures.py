"""The pictures of the documentation page."""

from __future__ import annotations

from pathlib import Path

import pytest

from imu_video.errors import ConfigError
from imu_video.simulation.pictures import main, make_pictures


def test_exactly_one_folder_is_expected() -> None:
    with pytest.raises(ConfigError, match="expected one folder"):
        main([])


@pytest.mark.slow
def test_pictures_are_drawn_and_small(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = make_pictures(tmp_path / "pictures")
    assert [p.name for p in paths] == ["world_people.png", "world_traces.png", "world_shifts.png"]
    assert all(10_000 < p.stat().st_size < 150_000 for p in paths)
