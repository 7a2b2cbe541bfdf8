"""The made-up exports of phone apps in tests/readers/files.py, for tests of datasets that read them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def files() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "readers" / "files.py"
    spec = importlib.util.spec_from_file_location("reader_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
