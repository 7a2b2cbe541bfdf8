"""The Python blocks of README and docs run, page by page, in a folder that holds what their readers have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(<!-- not run: (?P<reason>[^>]+) -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
# What makes a block short enough for a test; everything else is the page's.
SHORT = {
    '"optim.steps=500"': '"optim.steps=2", "data.batch_size=16", "encoder={name: segment_cnn}", "run.device=cpu"',
}


LONG = {
    f"docs/guides/{name}.md"
    for name in ("encoders-and-losses", "evaluation", "predictions", "pretraining", "shards", "teachers")
}
"""Pages whose blocks train, embed or evaluate: marked slow, and run by `make doctest`, a step of CI."""


def pages() -> list[Path]:
    """Pages with at least one block that runs."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if blocks(page)]


def blocks(page: Path) -> list[str]:
    """Code of a page, without blocks that state why they cannot run."""
    found = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    return [match["code"] for match in found if not match["reason"]]


@pytest.fixture
def reader(workplace: Path, demo_folder: Path) -> Path:
    """A working folder with `data/mine`, `encoders/mine` and, of an evaluation of the two, `results.jsonl`."""
    from imu_video.bundle import EncoderBundle, InputSpec

    (workplace / "data" / "demo").rename(workplace / "data" / "mine")
    spec = InputSpec(rate_hz=50, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    bundle = EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8})
    bundle.save_pretrained(workplace / "encoders" / "mine")
    return workplace


def evaluate(folder: Path) -> None:
    command = ["fewshot", "encoders/mine", "data/mine", "--split", "test", "--shots", "1", "--episodes", "4"]
    short = ["references.untrained_seeds=[0]"]
    run(folder, "from eval.cli import main; main()", *command, *short)


def write_walk(path: Path) -> None:
    """Ten seconds of a table whose units its values determine."""
    time = np.arange(500) / 50
    rows = np.column_stack([time, 3 * np.sin(9 * time), 0.1 * np.cos(time), 9.81 + np.cos(9 * time)])
    np.savetxt(path, rows, delimiter=",", header="time_s,acc_x,acc_y,acc_z", comments="")


def run(folder: Path, code: str, *arguments: str) -> None:
    """In a process of its own: blocks register components. The guard is for blocks that start workers."""
    script = folder / "block.py"
    script.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in code.splitlines()))
    done = subprocess.run([sys.executable, "-P", script, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in LONG))
        for name in (p.relative_to(ROOT).as_posix() for p in pages())
    ],
)
def test_blocks_run(name: str, reader: Path) -> None:
    """The blocks of a page are one program, as a reader would type them one after the other."""
    code = "\n".join(blocks(ROOT / name))
    for long, short in SHORT.items():
        code = code.replace(long, short)
    if "results.jsonl" in code:
        evaluate(reader)
    if "load_head" in code:
        run(reader, "from eval.cli import main; main()", "fit-head", "encoders/mine", "data/mine", "--out", "head")
        write_walk(reader / "walk.csv")
    run(reader, code)


def test_shortened_words_exist() -> None:
    """A page that changed must not quietly run its long version."""
    text = "\n".join(block for page in pages() for block in blocks(page))
    assert [long for long in SHORT if long not in text] == []
