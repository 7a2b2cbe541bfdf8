"""The benchmark through the tasks of a Ray cluster that the test starts: the same runs as in one process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.data.windows import LabelledWindows
from eval.protocols.ood.grid import Folder, plan, work
from eval.protocols.ood.runs import Run
from eval.protocols.ood.scenario import divide
from imu_video.errors import ConfigError
from tests.eval.protocols.ood.test_benchmark import config

ray = pytest.importorskip("ray", reason="clusters need the extra 'ray'")
pytestmark = pytest.mark.slow

PLUGIN = '''
from eval.algorithms.base import algorithms
from eval.algorithms.erm import ERM

@algorithms.register("test_mine")
class Mine(ERM):
    """ERM under another name."""
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def kept(folder: Folder, todo: list[Run]) -> list[dict[str, object]]:
    held = [json.loads(folder.file(run).read_text()) for run in todo]
    return [{k: v for k, v in result.items() if k != "seconds"} for result in held]


def test_a_cluster_gives_the_same_runs(
    cluster: None,
    make: Callable[..., LabelledWindows],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: Any,
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    c = config(training={"steps": 4, "evaluate_every": 2, "batch": 4}, seeds=[0])
    domains = divide(make(), c.scenario)
    monkeypatch.chdir(tmp_path)  # workers stand elsewhere: folder and plugin must reach them as whole paths
    alone, far = (Folder(Path(name), c, data="d", models={}) for name in ("alone", "far"))
    todo = plan(c, domains, alone)
    work(domains, c, todo, alone)
    before = len(logged.lines)
    work(domains, c, todo[:4], far, engine="ray", workers=2)
    assert [line.split()[0] for line in logged.lines[before:]] == ["1/4", "2/4", "3/4", "4/4"]
    left = plan(c, domains, far)
    assert left == todo[4:]
    work(domains, c, left, far, engine="ray", workers=0)
    assert kept(far, todo) == kept(alone, todo)

    own = Run(model="cnn", algorithm="test_mine", setting=(), target=todo[0].target, held=None, seed=0)
    work(domains, c, [own], far, engine="ray", workers=1, plugins=["mine.py"])
    (mine,) = kept(far, [own])
    (erm,) = kept(far, [r for r in todo if r.algorithm == "erm" and r.target == own.target])
    assert {**mine, "algorithm": "erm"} == erm
    with pytest.raises(ConfigError, match="test_yours"):
        work(domains, c, [Run(**{**vars(own), "algorithm": "test_yours"})], far, engine="ray", workers=1)
