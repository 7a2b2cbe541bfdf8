"""Damaged files of every kind: an error of ours that names the file, or the intact content.

`million.py` runs the same checks on as many seeds as time allows; a seed that once failed is listed in `seeds.json` and
replayed here for ever.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import Score
from tests.faults.kinds import KINDS
from tests.faults.million import wrong_of

pytestmark = [pytest.mark.slow, pytest.mark.faults]
HERE = Path(__file__).parent
KEPT: dict[str, list[int]] = json.loads((HERE / "seeds.json").read_text())
FRESH = range(10_000_000, 10_000_400)


@pytest.mark.parametrize("kind", KINDS)
def test_new_seeds(kind: str, score: Score) -> None:
    wrong = wrong_of(kind, FRESH)
    with score(f"damaged {kind} files, new seeds") as case:
        for seed in FRESH:
            case.add(seed not in wrong, f"seed {seed}: {wrong.get(seed)}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KEPT.get(kind)])
def test_seeds_that_once_failed(kind: str, score: Score) -> None:
    wrong = wrong_of(kind, KEPT[kind])
    with score(f"damaged {kind} files, seeds that once failed") as case:
        for seed in KEPT[kind]:
            case.add(seed not in wrong, f"seed {seed}: {wrong.get(seed)}")


def test_the_script_counts_deaths_and_continues(tmp_path: Path) -> None:
    """A kind whose third input kills the process: one wrong outcome, all others checked, and nothing is repeated."""
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from tests.faults import kind, kinds\n"
        "class Deadly(kind.Kind):\n"
        "    name = 'deadly'\n"
        "    def prepare(self): pass\n"
        "    def once(self, rng): raise AssertionError\n"
        "    def check(self, seed):\n"
        "        if seed == 3: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        return 'odd' if seed == 5 else None\n"
        "kinds.KINDS['deadly'] = Deadly\n"
    )
    (tmp_path / "sitecustomize.py").write_text("import deadly\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{HERE.parents[1]}"}
    out = tmp_path / "out"
    ended = subprocess.run(
        [sys.executable, "-P", HERE / "million.py", "--kind", "deadly", "--count", "8", "--out", out],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    counts = json.loads((out / "deadly-0.json").read_text())
    failed = json.loads((out / "deadly-0-failed.json").read_text())
    assert ended.returncode == 1, ended.stderr
    assert counts == [8, 6]
    assert sorted(failed) == ["3", "5"]
    assert "-11" in failed["3"]
