"""Every script of examples/ runs in an empty folder, and has the docstring that the gallery page shows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imu_video import list_pretrained

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p for p in (ROOT / "examples").glob("*.py") if not p.name.startswith("_"))
LONG = {"compare_encoders", "few_shot", "own_loss_plugin", "own_teacher_plugin", "pretrain_and_export", "read_results"}
"""Examples that pretrain or evaluate: marked slow, and run by `make doctest`, a step of continuous integration."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "script", [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in LONG), id=p.stem) for p in SCRIPTS]
)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    names = set(re.findall(r'"(imu-video/\w+)"', script.read_text(encoding="utf-8")))
    if missing := names - {record.name for record in list_pretrained()}:
        pytest.skip(f"this version ships no {', '.join(sorted(missing))}")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_example_explains_itself(script: Path) -> None:
    """A title of one line, an explanation, and an assertion, so that a false claim fails."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n")
    assert title.endswith(".")
    assert rest.strip()
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
