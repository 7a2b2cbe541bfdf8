"""Building and embedding through the tasks of a Ray cluster that the test starts: the same bytes as in one process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imu_video.errors import LeakageError
from imu_video.runtime.workers import WorkerLost, run
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.features.embed import embed
from imu_video.shards.reading.index import load_index

ray = pytest.importorskip("ray", reason="clusters need the extra 'ray'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def _die(item: int) -> int:
    import os

    if item:
        os._exit(1)
    return item


def test_a_cluster_gives_the_same_bytes(
    cluster: None,
    people_config: Callable[..., BuildConfig],
    tiny_plugin: Path,
    files_of: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    whole = build(people_config(), tmp_path / "whole")
    index = build(people_config(), tmp_path / "data", engine="ray", workers=0, plugins=[tiny_plugin])
    assert files_of(tmp_path / "data") == files_of(whole.root)
    embed(whole, {"name": "tiny", "dim": 8})
    embed(index, {"name": "tiny", "dim": 8}, engine="ray", workers=2)
    assert files_of(tmp_path / "data") == files_of(whole.root)
    shutil.rmtree(tmp_path / "data")
    bad = people_config(dataset={"name": "tiny_people", "fault": "other_subject"})
    with pytest.raises(LeakageError, match="for subject") as caught:  # an error of a task keeps its type and hint
        build(bad, tmp_path / "data", engine="ray", workers=2, plugins=[tiny_plugin])
    assert caught.value.hint == "recordings(subjects) of the dataset must yield the given subjects only"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["whole"]
    assert load_index(whole.root).digest == whole.digest
    with pytest.raises(WorkerLost, match="Ray task was lost"):
        list(run(_die, [0, 1], engine="ray", workers=2))
