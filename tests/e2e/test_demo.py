"""The demo as shipped: minutes, so it runs with the slow tests; what it claims is asserted from its own results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_demo_shows_what_it_claims(tmp_path: Path) -> None:
    """At 5 shots pretraining beats the untrained encoder on unseen subjects and on the unseen placement."""
    out = tmp_path / "demo"
    command = [sys.executable, "-P", ROOT / "studies" / "demo" / "run.py", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for made in ("data/index.json", "run/log.jsonl", "encoder/model.safetensors", "report/report.html"):
        assert (out / made).is_file()
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    claims = [
        r
        for r in results
        if r["kind"] == "fewshot-difference"
        and r["reference"] == "untrained"
        and r["shots"] == 5
        and r["metric"] == "macro_f1"
        and r["domain"] in ("people", "placement (ankle)")
    ]
    assert len(claims) == 4  # two domains, two probes
    assert all(r["low"] > 0 for r in claims)
