"""A small folder with clips and hostile names, an untrained encoder, and results of every kind measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.config import EvalConfig
from eval.data.windows import load_windows
from eval.protocols.fewshot.measure import measure
from eval.protocols.fewshot.run import run_fewshot
from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.limited_labels.inputs import Features
from eval.protocols.limited_labels.lines import measure_labels
from eval.protocols.limited_labels.plan import Plan
from eval.protocols.limited_labels.run import LabelsRun
from eval.protocols.limited_labels.subjects import group_subjects
from eval.protocols.ood.benchmark import benchmark
from eval.protocols.ood.config import OodConfig
from eval.results.cells import CellStore
from eval.results.counts import save_counts
from eval.results.lines import Result, provenance
from eval.results.store import append_results
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.config import validate
from imu_video.modalities import ClipSpec, SkeletonSpec
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window

HOSTILE = 'sit</td><script>alert(1)</script><img src=x onerror=alert(2)> $\\frac{ "'
LABELS = ("walk", HOSTILE, "run|fast")
PEOPLE = tuple(f"p{n}" for n in range(6))


@dataclass(frozen=True)
class Made:
    """What the report is made of: folders, and the result file."""

    data: Path
    encoder: Path
    results: Path
    benchmark: Path


def _window(subject: str, label: int, number: int) -> Window:
    rng = np.random.default_rng([label, number, int(subject[1:])])
    t = np.arange(64) / 32
    wave = np.sin(2 * np.pi * (1 + 1.5 * label) * t + rng.uniform(0, 6))
    imu = {}
    for placement in ("ankle", "wrist"):
        x = (1 + label) * wave + rng.normal(size=(6, 64)) * 1.5
        x[2] += 9.8
        imu[placement] = x.astype(np.float32)
    imu["ankle"][:, :4] = np.nan
    grey = np.linspace(40, 200, 10).astype(np.uint8)
    return Window(
        key=f"made-{subject}-{label}{number:03d}",
        recording=f"{subject}_{label}",
        subject=subject,
        session="1",
        start=2.0 * number,
        imu=imu,
        streams={
            "video": np.broadcast_to(grey[:, None, None, None], (10, 32, 32, 3)).copy() if label != 1 else None,
            "skeleton": rng.normal(size=(10, 4, 3)).astype(np.float32),
        },
        label=LABELS[label],
        tags={"camera": "front"},
    )


def _folder(root: Path) -> Index:
    windows = [
        _window(subject, label, number) for subject in PEOPLE for label in range(len(LABELS)) for number in range(5)
    ]
    joints = ("head", "hip", "foot", "hand")
    specs = {
        "video": ClipSpec(fps=5, frames=10, height=32, width=32),
        "skeleton": SkeletonSpec(fps=5, frames=10, joints=joints),
    }
    return write_folder(root, {"test": windows}, rate_hz=32, specs=specs)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Few-shot with calibration, limited labels, the benchmark of domain shift, and lines of two zero-shot forms."""
    root = tmp_path_factory.mktemp("report")
    index = _folder(root / "data")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (2.0,) * 3)
        encoder = {"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16}
        bundle = EncoderBundle(spec=spec, encoder=encoder)
    bundle.save(root / "encoder", lineage={"run_id": "abc"})
    windows = load_windows(index, splits=["test"])
    out = root / "results.jsonl"
    config = validate(
        {
            "domains": [{"name": "people"}, {"name": "ankle & co", "placements": ["ankle"]}],
            "episodes": {"shots": [1, 3], "episodes": 4},
            "probes": ["ridge", "logreg"],
            "references": {"untrained_seeds": [0], "supervised": {"episodes": 1, "steps": 2, "shots": [3]}},
        },
        EvalConfig,
        source="test",
    )
    shared = provenance(
        encoder={"name": "enc", "weights": "w" * 12, "architecture": encoder, "run_id": "abc"},
        data={"dataset": index.dataset, "digest": index.digest},
        config=config,
    )
    counts, remarks = run_fewshot(windows, bundle, config)
    save_counts(root / "results.cells" / "x.npz", counts)
    append_results(out, measure(counts, config, {**shared, "cells": "results.cells/x.npz"}, remarks=remarks))
    zero = {"kind": "zeroshot", "metric": "accuracy", "value": 0.4, "low": 0.3, "high": 0.5, "chance": 0.333}
    zero |= {"model": "pretrained", "domain": "people", "subjects": 6, "episodes": 1, "shots": 0, **shared}
    confusion = {"classes": sorted(LABELS), "confusion": [[3, 1, 1], [0, 4, 1], [2, 2, 1]]}
    forms = [{"form": form, **confusion} for form in ("video", "something <new>")]
    append_results(out, [Result.model_validate({**zero, "probe": str(f["form"]), "details": f}) for f in forms])
    append_results(out, _labels(root, windows, bundle, shared))
    shift = OodConfig.model_validate(
        {
            "scenario": {"name": "people", "axis": "subject", "groups": 3},
            "models": [{"name": "cnn", "backbone": {"name": "harood_cnn", "kernel": 5, "norm": "batch"}}],
            "algorithms": ["erm", "mixup"],
            "training": {"steps": 4, "evaluate_every": 2, "batch": 4},
            "seeds": [0],
            "selection": ["source"],
        }
    )
    lines = benchmark([root / "data"], shift, folder=root / "runs")
    assert lines is not None
    append_results(out, lines)
    return Made(data=root / "data", encoder=root / "encoder", results=out, benchmark=root / "runs")


def _labels(root: Path, windows: object, bundle: EncoderBundle, shared: dict[str, object]) -> list[Result]:
    config = validate(
        {
            "name": "fixed",
            "pool": {"split": "test", "where": {"subject": ["p0", "p1"]}},
            "test": {"split": "test", "where": {"subject": ["p2", "p3", "p4"]}},
            "choose": None,
            "labels": [1],
            "seeds": [0],
            "references": ["random"],
            "methods": [{"name": "probe"}, {"name": "random", "start": "random"}],
        },
        LabelsConfig,
        source="test",
    )
    groups = group_subjects(windows, config)  # type: ignore[arg-type]
    features = Features(groups=groups, bundles=[bundle], weights=["w" * 12], model="enc", config=config)
    run = LabelsRun(Plan(config, features), store=CellStore(root / "results.cells" / "labels"))
    return measure_labels(run.run(), groups, config, shared)
