"""The encoder study: its table shows every model beside the others, and its summary counts intervals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def line(model: str, value: float, shots: int, *, reference: str | None = None, half: float = 0.1) -> str:
    kind = "fewshot" if reference is None else "fewshot-difference"
    fields = {"kind": kind, "metric": "macro_f1", "model": model, "reference": reference, "probe": "ridge"}
    where = {"domain": "wrist", "shots": shots, "subjects": 12, "episodes": 9, "data": {"dataset": "made"}}
    return json.dumps(fields | where | {"value": value, "low": value - half, "high": value + half})


def test_the_table_shows_every_model_and_counts_intervals(tmp_path: Path) -> None:
    lines = [
        line(model, value + shots / 100, shots)
        for shots in (1, 5)
        for model, value in (("pretrained", 0.6), ("untrained", 0.4), ("handcrafted", 0.5), ("network", 0.55))
    ]
    lines += [line("pretrained", 0.1, 1, reference="handcrafted", half=0.2)]
    lines += [line("pretrained", 0.2, 5, reference="handcrafted"), line("pretrained", 0.2, 5, reference="untrained")]
    file = tmp_path / "results.jsonl"
    file.write_text("\n".join(lines) + "\n")
    script = ROOT / "studies" / "encoder" / "table.py"
    done = subprocess.run([sys.executable, "-P", script, file], capture_output=True, text=True, check=True)
    shown = done.stdout.splitlines()
    assert shown[2] == "| made | wrist | 12 | 1 | 0.610 | 0.510 | 0.410 | 0.560 | +0.100 [-0.100, +0.300] |"
    assert shown[3] == "| made | wrist | 12 | 5 | 0.650 | 0.550 | 0.450 | 0.600 | +0.200 [+0.100, +0.300] |"
    assert shown[4] == "1 shots, 1 rows: mean +0.100, above 0 in 1, interval above 0 in 0, below 0 in 0"
    assert shown[5] == "5 shots, 1 rows: mean +0.200, above 0 in 1, interval above 0 in 1, below 0 in 0"


def test_candidates_of_a_selection_are_told_apart_by_their_files(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.jsonl" for name in ("all", "all-96")]
    for file, gain in zip(files, (0.1, 0.2), strict=True):
        file.write_text(line("pretrained", 0.6, 1) + "\n" + line("pretrained", gain, 1, reference="handcrafted") + "\n")
    script = ROOT / "studies" / "encoder" / "table.py"
    done = subprocess.run([sys.executable, "-P", script, *files], capture_output=True, text=True, check=True)
    shown = done.stdout.splitlines()
    assert shown[3] == "| all-96 | made | wrist | 12 | 1 | 0.600 |  |  |  | +0.200 [+0.100, +0.300] |"
    assert shown[4] == "all, 1 shots, 1 rows: mean +0.100, above 0 in 1, interval above 0 in 0, below 0 in 0"
