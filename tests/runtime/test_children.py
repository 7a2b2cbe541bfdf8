"""Child Pythons and the working folder: the command line, and the environment that is put back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imu_video.runtime import console
from imu_video.runtime.children import python, without_working_folder

VARIABLE = "PYTHONSAFEPATH"


def test_a_child_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("open('executed', 'w').close()\n")
    subprocess.run(python("-c", "import random"), cwd=tmp_path, check=True)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("before", [None, "yes"])
def test_the_environment_is_put_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    with without_working_folder():
        assert os.environ[VARIABLE] == "1"
    assert os.environ.get(VARIABLE) == before


def test_commands_run_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    seen: list[str | None] = []
    console.run(lambda: seen.append(os.environ.get(VARIABLE)))
    assert seen == ["1"]
    assert VARIABLE not in os.environ
