"""Every registered reader keeps its contract on a file of its format, and docs/reference/readers.md lists it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from imu_video.cli.reader_page import reader_lines, with_reader_page
from imu_video.errors import ConfigError
from imu_video.registry import readers
from imu_video.testing import check_reader

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "readers.md"
SHIPPED = [name for name in readers.names() if readers.get(name).__module__.startswith("imu_video.")]


@pytest.fixture(scope="module")
def files() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reader_files", ROOT / "tests" / "readers" / "files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SHIPPED)
def test_readers(name: str, files: ModuleType, tmp_path: Path) -> None:
    reader = readers.get(name)
    if reader.extra is not None:
        for package in reader.packages:
            pytest.importorskip(package.replace("-", "_"), reason=f"needs the extra {reader.extra}")
    assert name in files.FILES, "add a small file of its format to tests/readers/files.py"
    check_reader(name, files.FILES[name](tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_readers_on_many_damaged_files(name: str, files: ModuleType, tmp_path: Path) -> None:
    check_reader(name, files.FILES[name](tmp_path), damage=400, seed=1)


def test_the_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_reader_page(text), "run: python -m imu_video.cli.reader_page docs/reference/readers.md"
    for name in SHIPPED:
        assert f"`{name}`" in text
        assert dict(reader_lines(readers, name))["tested on"]


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no lines"):
        with_reader_page("# Readers")
