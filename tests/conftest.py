"""Fixtures shared by all tests: where the real recordings are, and one process-group pool for distributed tests."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from imu_video import registry
from imu_video.runtime.logging import PACKAGES, Progress

# Before torch is loaded: the workers of `pytest -n 2` would spin against each other's threads (ten times slower).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test may fail because the machine is busy.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")

ROOT = Path(__file__).resolve().parent.parent


class Logged:
    """INFO records of our packages in a test: lines, and progress as (done, total, what)."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def _records(self) -> list[logging.LogRecord]:
        return [r for r in self._caplog.get_records("call") if r.name.partition(".")[0] in PACKAGES]

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._records() if not hasattr(record, "progress")]

    @property
    def progress(self) -> list[tuple[int, int, str]]:
        states: list[Progress] = [record.progress for record in self._records() if hasattr(record, "progress")]
        return [(state.done, state.total, state.what) for state in states]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """What our packages log from here on."""
    caplog.set_level(logging.INFO)
    return Logged(caplog)


@pytest.fixture(autouse=True)
def registered_in_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test registers itself is forgotten after it: other tests count everything that is registered."""
    before = {id(one): set(one._classes) for one in registry._registries}
    yield
    for one in registry._registries:
        for name in set(one._classes) - before.get(id(one), set()):
            if one._classes[name].__module__ == request.module.__name__:
                del one._classes[name]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings; the test is skipped where it is absent."""
    folder = Path(os.environ.get("IMU_VIDEO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set IMU_VIDEO_DATA")
    return folder


@pytest.fixture(scope="session")
def trees() -> ModuleType:
    """tests/datasets/trees.py: made-up trees in the layout of public sets, for contracts and adapters alike."""
    spec = importlib.util.spec_from_file_location("made_up_trees", ROOT / "tests" / "datasets" / "trees.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def real_data_unpacked(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a dataset's folder name to that folder with its archives extracted."""
    done: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        if name not in done:
            source = real_data / name
            archives = sorted([*source.glob("*.tar.xz"), *source.glob("*.tar.bz2")])
            if not archives:
                done[name] = source
            else:
                out = tmp_path_factory.mktemp(name)
                for archive in archives:
                    with tarfile.open(archive) as tar:
                        tar.extractall(out, filter="data")
                done[name] = out
        return done[name]

    return unpack


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by playwright; the test is skipped where either is absent."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=quiet, timeout=300_000)
        yield chromium
        chromium.close()
