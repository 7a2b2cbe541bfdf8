"""Every docstring example runs and gives the documented output."""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Adapters whose files are not made up by tests/datasets/trees.py: their examples run on the real recordings.
RECORDED = {
    "imu_video.datasets.bandai_namco": "bandai-namco-bvh",
    "imu_video.datasets.berkeley_mhad": "berkeley-mhad",
    "imu_video.datasets.bvh": "bandai-namco-bvh",
    "imu_video.datasets.cmu_mocap": "cmu-mocap",
    "imu_video.datasets.daphnet": "daphnet-fog",
    "imu_video.datasets.hapt": "uci-hapt",
    "imu_video.datasets.mobilise_d": "mobilise-d-example",
    "imu_video.datasets.sp_sw_har": "sp-sw-har",
    "imu_video.datasets.umafall": "umafall",
    "imu_video.datasets.utd_mhad": "utd-mhad",
}
# Examples that cannot run in a test, with the reason; every other example runs.
SKIPPED = {
    "imu_video.shards.folders.fetch": "reads a bucket",
    "imu_video.shards.remote": "reads a bucket",
    "pretrain.run": "trains for minutes",
    "pretrain.training.validate": "needs a task that is being trained",
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_with_examples() -> list[str]:
    """Found in the text, so that collecting tests imports nothing."""
    paths = (path for top in ("imu_video", "pretrain", "eval") for path in sorted((ROOT / top).rglob("*.py")))
    return [module_name(path) for path in paths if ">>>" in path.read_text(encoding="utf-8")]


def examples_of(name: str) -> list[doctest.DocTest]:
    module = importlib.import_module(name)
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]
    return [test for test in found if not any(doctest.SKIP in e.options for e in test.examples)]


def run(tests: list[doctest.DocTest]) -> None:
    runner, output = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE), list[str]()
    for test in tests:
        runner.run(test, out=output.append)
    assert (runner.tries, runner.failures) == (sum(len(test.examples) for test in tests), 0), "".join(output)


def roots(tests: list[doctest.DocTest]) -> set[str]:
    """The folders that examples of a dataset adapter read."""
    return {root for test in tests for e in test.examples for root in re.findall(r'root="([^"]+)"', e.source)}


@pytest.mark.parametrize("name", [name for name in modules_with_examples() if name not in RECORDED])
def test_examples_of(name: str, workplace: Path, trees: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = examples_of(name)
    adapter = name.rpartition(".")[2]
    if name.startswith("imu_video.datasets."):
        for root in roots(tests):
            make_files(adapter, workplace / root, trees)
    if adapter == "egoexo4d":  # projectaria-tools, which reads the real files, has no wheels for every Python
        monkeypatch.setattr("imu_video.datasets.egoexo4d.aria_provider", trees.FakeAria)
    run(tests)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_examples_on_real_recordings(name: str, workplace: Path, real_data_unpacked: Callable[[str], Path]) -> None:
    tests = examples_of(name)
    for root in roots(tests):
        (workplace / root).parent.mkdir(parents=True, exist_ok=True)
        (workplace / root).symlink_to(real_data_unpacked(RECORDED[name]))
    run(tests)


def make_files(adapter: str, root: Path, trees: ModuleType) -> None:
    """Write what an adapter reads: the layout of the published set, with made-up content."""
    root.mkdir(parents=True, exist_ok=True)
    if adapter in trees.TREES:
        trees.TREES[adapter](root)
    elif adapter == "gopro":
        for name in ("GX010001.MP4", "GX010002.MP4"):
            (root / name).touch()
    elif adapter == "ucihar":
        for part, subject in (("train", 1), ("test", 2)):
            (root / part).mkdir()
            (root / part / f"subject_{part}.txt").write_text(f"{subject}\n")


def test_only_named_examples_are_skipped() -> None:
    """A skipped example proves nothing; each one that remains has a reason in this file."""
    marked = {name for name in modules_with_examples() if "+SKIP" in source(name)}
    assert marked == set(SKIPPED)


def source(name: str) -> str:
    path = ROOT.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
