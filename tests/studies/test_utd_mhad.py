"""The UTD-MHAD study on a generated tree in the formats of UTD-MHAD: every step, its output, and repeated calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from imu_video.datasets.utd_mhad import JOINTS

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = (1, 2, 22)
SHORT = "{steps: 3, batch: 8, members: 2, augment: []}"
TREE = {"hip_center": (0, 0.9), "spine": (0, 1.2), "shoulder_center": (0, 1.5), "head": (0, 1.7)}


def made_up(root: Path) -> None:
    """Eight people, three actions of three trials; the tempo and the joint that moves tell the action."""
    rng = np.random.default_rng(0)
    rest = np.zeros((20, 3))
    for i, name in enumerate(JOINTS):
        side = -0.2 if name.startswith("left") else 0.2
        height = 0.1 if "ankle" in name or "foot" in name else 0.5 if "knee" in name else 0.9 if "hip" in name else 1.3
        x, y = TREE.get(name, (side, height))
        rest[i] = x, y, 2.5
    for folder in ("Inertial", "Skeleton", "Depth"):
        (root / folder).mkdir(parents=True)
    for subject in range(1, 9):
        for place, action in enumerate(ACTIONS):
            for trial in (1, 2, 3):
                stem = f"a{action}_s{subject}_t{trial}"
                wave = np.sin(np.linspace(0, 6 * (place + 1), 120) + rng.normal(0, 0.2))
                inertial = rng.normal(0, 0.05, (120, 6))
                inertial[:, 1] += 1 + wave
                inertial[:, 4] += 90 * wave
                savemat(root / "Inertial" / f"{stem}_inertial.mat", {"d_iner": inertial})
                joints = np.repeat(rest[:, :, None], 40, axis=2) + rng.normal(0, 0.005, (20, 3, 40))
                joints[9 + place, 1] += 0.4 * wave[::3]
                savemat(root / "Skeleton" / f"{stem}_skeleton.mat", {"d_skel": joints})


@pytest.mark.slow
def test_every_step_runs_and_keeps_finished_work(tmp_path: Path) -> None:
    made_up(tmp_path / "UTD-MHAD")
    config = tmp_path / "labels.yaml"

    def call(*words: str) -> str:
        own = ["--study", str(tmp_path / "study")]
        seeded = [] if words[0] in ("data", "table") else ["--seeds", "0,1"]
        labelled = ["--labels", str(config)] if words[0] in ("scratch", "row", "teacher", "finetune") else []
        done = subprocess.run(
            [sys.executable, "-P", ROOT / "studies" / "utd_mhad" / "run.py", *words, *own, *seeded, *labelled],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr

    def shorten(name: str) -> None:
        base = ROOT / "studies" / "utd_mhad" / "configs" / "labels" / f"{name}.yaml"
        config.write_text(f"extends: {base}\nlabels: [1, all]\nscratch: {SHORT}\nfinetune: {SHORT}\n")

    def lines() -> list[dict]:
        return [json.loads(line) for line in (tmp_path / "study" / "results.jsonl").read_text().splitlines()]

    short = ["data.batch_size=8", "optim.steps=3", "run.validate_every=3", "run.checkpoint_every=3", "run.gallery=8"]
    pretrain = [word for value in short for word in ("--pretrain", value)]
    call("data", str(tmp_path / "UTD-MHAD"), "epochs=2", "batch=8", "width=8")
    shorten("main")
    call("scratch", "data.batch_size=8")
    assert {r["probe"] for r in lines()} == {"random", "skeleton", "scratch", "scratch spread"}
    call("row", "simclr_imu", "simclr_imu", *short)
    first = call("row", "imu_video", "changed", "loss.1.weight=0.5", *short)
    assert "changed: 2 of 2 pretrainings to do" in first
    encoders = tmp_path / "study" / "encoders" / "changed"
    assert sorted(p.name for p in encoders.iterdir()) == ["seed0", "seed1"]
    assert (encoders / "seed1" / "skeleton" / "config.json").is_file(), "the skeleton encoder is exported with it"
    written = (tmp_path / "study" / "runs" / "changed-0" / "config.yaml").read_text()
    assert "weight: 0.5" in written
    found = {(r["kind"], r["model"], r["probe"], r.get("reference")) for r in lines()}
    assert ("labels", "changed", "probe fused", None) in found
    assert ("labels-difference", "changed", "probe", "simclr_imu: probe") in found
    assert ("labels-difference", "changed", "probe spread", "none: scratch") in found

    again = call("row", "imu_video", "changed", "loss.1.weight=0.5", *short)
    assert "changed: 0 of 2 pretrainings to do" in again
    assert " 0 trainings of 0 steps in total to do" in again

    shorten("finetune")
    call("finetune", "changed")
    tuned = {r["probe"]: r for r in lines() if r["kind"] == "labels" and r["model"] == "changed"}
    assert {"along", "along fused", "along skeleton"} <= set(tuned)
    shorten("probes")
    call("row", "masked_patchtst", "masked_patchtst", *short)
    call("teacher", "poor", "epochs=1", "batch=8", "width=4", "segments=1", "supervised=true", *pretrain)
    own = (tmp_path / "study" / "teachers" / "poor" / "results.jsonl").read_text().splitlines()
    assert {("poor", "probe fused"), ("none", "skeleton")} <= {(r["model"], r["probe"]) for r in map(json.loads, own)}
    call("table")
    report = (tmp_path / "study" / "report" / "report.md").read_text()
    assert "masked_patchtst" in report
    assert "along fused" in report
