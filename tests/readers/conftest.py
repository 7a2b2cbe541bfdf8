"""The files of `files.py` and `device_files.py` and the place of real ones, for the tests of readers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

SHARED = Path(os.environ.get("IMU_VIDEO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"reader_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def device_files() -> ModuleType:
    return _beside("device_files")


@pytest.fixture(scope="session")
def files() -> ModuleType:
    return _beside("files")


@pytest.fixture(scope="session")
def real_files() -> Path:
    """Real files of devices; a test that needs them is skipped where they are absent."""
    folder = SHARED / "format-fixtures"
    if not folder.is_dir():
        pytest.skip(f"no real files of devices at {folder}; set IMU_VIDEO_DATA")
    return folder
