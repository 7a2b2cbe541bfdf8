"""The documentation site builds without a warning, and its generated pages cover the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'imu-video[docs]'")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install 'imu-video[docs]'")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_is_on_one_page(hooks: ModuleType) -> None:
    """Each file with code of the three packages has a section, except those whose name begins with an underscore."""
    listed = [module for modules in hooks.rooms().values() for module in modules]
    assert len(listed) == len(set(listed))
    paths = [path for top in hooks.PACKAGES for path in (ROOT / top).rglob("*.py") if path.read_text().strip()]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    assert set(listed) == {name for name in names if not re.search(r"\._", name)}
    page = hooks.api_page("imu_video.losses", hooks.rooms()["imu_video.losses"])
    assert "::: imu_video.losses.functional.contrastive" in page
    assert "| [`InfoNCE`][imu_video.losses.contrastive.InfoNCE] |" in page


def test_every_command_is_on_its_page(hooks: ModuleType) -> None:
    """The headings are those that `--help` names."""
    import typer

    for name, module in hooks.COMMANDS.items():
        app = typer.main.get_command(importlib.import_module(module).app)
        context = app.context_class(app, info_name=name)
        page = hooks.command_page(name, module)
        children = app.list_commands(context)  # not `app.commands`, which lacks the protocols of `imu-eval`
        assert len(children) > 2
        for child in children:
            if not app.get_command(context, child).hidden:
                assert f"## {name} {child}\n" in page
    assert re.search(
        r"\| `--workers [^|]+\| .*\[default: 1", hooks.command_page("imu-video", hooks.COMMANDS["imu-video"])
    )


@pytest.mark.slow  # half a minute of one core; continuous integration builds the site in a job of its own
@pytest.mark.timeout(1500)
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Dead links, missing pages, unknown anchors and unreadable docstrings are warnings, and warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    losses = (tmp_path / "site" / "reference" / "api" / "imu_video.losses" / "index.html").read_text(encoding="utf-8")
    assert 'id="imu_video.losses.contrastive.InfoNCE"' in losses
    start = (tmp_path / "site" / "guides" / "pretraining" / "index.html").read_text(encoding="utf-8")
    assert "https://github.com/imu-video/imu-video/blob/main/configs/pretrain/base.yaml" in start
