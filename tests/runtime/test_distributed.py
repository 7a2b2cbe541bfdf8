"""Rank and world size from the environment, and the rows of a rank; gathers are in tests/distributed."""

from __future__ import annotations

import pytest

from imu_video.errors import ConfigError
from imu_video.runtime.distributed import World


def test_world_from_the_environment() -> None:
    assert World.from_environment({}) == World() == World(rank=0, size=1, local_rank=0)
    two = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    assert World.from_environment(two) == World(rank=1, size=2)
    assert World.from_environment({**two, "LOCAL_RANK": "1"}).local_rank == 1


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK"])
def test_an_incomplete_environment_is_refused(missing: str) -> None:
    two = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    with pytest.raises(ConfigError, match=rf"\b{missing}=''"):
        World.from_environment({k: v for k, v in two.items() if k != missing})
    with pytest.raises(ConfigError, match=rf"\b{missing}='-1'"):
        World.from_environment({**two, missing: "-1"})


def test_rows_of_a_rank() -> None:
    assert [World(rank=rank, size=3).rows(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(ValueError, match="10 rows does not divide over 3 ranks"):
        World(size=3).rows(10)
