"""Zero-shot and retrieval with a student whose quality is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eval.config import EvalConfig
from eval.datasets import LabelledWindows
from eval.retrieve import draw_galleries, person_figures, run_retrieval
from eval.zeroshot import build_prototypes, embed_imu, embed_video, run_zeroshot
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError
from imu_video.hub import EncoderBundle, InputSpec
from imu_video.metrics.retrieval import retrieval
from imu_video.models import CrossModalModel

CLASSES = 4


class Student:
    """Reads class and sample number, planted in the first samples of a window, and blurs them with noise."""

    def __init__(self, noise: float, lineage: dict[str, Any] | None = None) -> None:
        self.noise = noise
        self.lineage = lineage or {}

    def encode(self, x: np.ndarray, **_: object) -> np.ndarray:
        rng = np.random.default_rng(0)
        return (planted(x) + self.noise * rng.normal(size=(len(x), CLASSES + 8))).astype(np.float32)


class Pair:
    """Stands for CrossModalModel: features and teacher features are embeddings already."""

    def __init__(self, noise: float = 0.0, lineage: dict[str, Any] | None = None) -> None:
        self.student = Student(noise, lineage)
        self.imu_projector = torch.nn.Identity()

    def embed_teacher(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x, dim=-1)


def planted(x: np.ndarray) -> np.ndarray:
    """One-hot class, and a smaller direction of the sample's own."""
    label, sample = x[:, 0, 0].astype(int), x[:, 0, 1].astype(int)
    own = np.stack([np.random.default_rng(s).normal(size=8) for s in sample]) * 0.25
    return np.concatenate([np.eye(CLASSES)[label], own], axis=1)


@pytest.fixture(scope="module")
def paired(make: Callable[..., LabelledWindows]) -> LabelledWindows:
    """Ten people, the last three in `train`; teacher features are exact, two samples lack them."""
    w = make(people=10)
    x = w.x.copy()
    x[:, 0, 0], x[:, 0, 1] = w.labels, w.sample
    teacher = planted(x).astype(np.float32)
    teacher[np.isin(w.sample, [0, 5])] = np.nan
    split = np.where(w.subject >= "s07", "train", "test")
    return replace(w, x=x, teacher=teacher, teacher_name="t", facts={**w.facts, "split": split})


def config(**changes: object) -> EvalConfig:
    return validate({"bootstrap": {"resamples": 200}, **changes}, EvalConfig, source="test")


def run(paired: LabelledWindows, model: Pair, **changes: object) -> dict[tuple[str, str], Any]:
    results = run_zeroshot(paired, model, config(**changes), {})  # type: ignore[arg-type]
    return {(r.model, r.metric): r for r in results}


def test_a_perfect_student_is_perfect_and_a_blind_one_at_chance(paired: LabelledWindows) -> None:
    perfect = run(paired, Pair())
    assert perfect["pretrained", "accuracy"].value == 1.0
    assert perfect["teacher", "accuracy"].value == 1.0
    blind = run(paired, Pair(noise=1000.0))
    assert blind["pretrained", "balanced_accuracy"].value == pytest.approx(0.25, abs=0.08)
    assert blind["pretrained", "balanced_accuracy"].chance == 0.25
    assert blind["teacher", "accuracy"].value == 1.0, "the ceiling does not depend on the student"


def test_prototypes_are_class_means_with_each_sample_once(paired: LabelledWindows) -> None:
    made = build_prototypes(Pair(), paired, config(), paired.classes)  # type: ignore[arg-type]
    assert made.subjects == ("s07", "s08", "s09")
    rows = np.flatnonzero((paired.facts["split"] == "train") & (paired.facts["placement"] == "wrist"))
    for c in range(CLASSES):
        own = [paired.teacher[r] for r in rows if paired.labels[r] == c]
        mean = np.mean([v / np.linalg.norm(v) for v in own], axis=0)
        assert np.allclose(made.mean[c], mean / np.linalg.norm(mean), atol=1e-5)
        assert made.anchors[c] == len(own) == 18
    few = build_prototypes(Pair(), paired, config(zeroshot={"anchors": 2}), paired.classes)  # type: ignore[arg-type]
    assert few.anchors == (2,) * CLASSES


def test_the_number_of_anchors_is_stated(paired: LabelledWindows) -> None:
    result = run(paired, Pair(), zeroshot={"anchors": 3})["pretrained", "accuracy"]
    assert result.details["anchors"] == {f"activity{c}": 3 for c in range(CLASSES)}
    assert "noisy" in result.details["remark"]
    assert (result.subjects, result.shots) == (7, 0)


def test_prototype_people_and_pretraining_people_are_never_queried(paired: LabelledWindows) -> None:
    with pytest.raises(LeakageError, match="gave prototypes and are queried"):
        run(paired, Pair(), zeroshot={"support": {"split": "test"}})
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s02"]}}}
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run(paired, Pair(lineage=lineage))
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run_retrieval(paired, Pair(lineage=lineage), config(), {})  # type: ignore[arg-type]


def test_a_class_without_video_is_named(paired: LabelledWindows) -> None:
    blank = replace(paired, teacher=np.where((paired.labels == 2)[:, None], np.nan, paired.teacher))
    with pytest.raises(ConfigError, match="class 'activity2' has no video"):
        run(blank, Pair())
    with pytest.raises(ConfigError, match="carry no teacher features"):
        run(replace(paired, teacher=None), Pair())


def test_embedding_equals_the_model_itself(make: Callable[..., LabelledWindows]) -> None:
    windows = make(people=1)
    spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    torch.manual_seed(0)
    student = EncoderBundle(spec=spec, encoder={"name": "patch_tst", "width": 8, "heads": 2, "layers": 1, "ffn": 16})
    model = CrossModalModel(student=student, teacher_dim=5, dim=12).eval()
    with torch.no_grad():
        x = torch.from_numpy(windows.x)
        expected = model.embed_imu(x, torch.ones_like(x, dtype=torch.bool)).numpy()
    assert np.allclose(embed_imu(model, windows, batch_size=7), expected, atol=1e-5)
    teacher = np.random.default_rng(0).normal(size=(len(windows), 5)).astype(np.float32)
    teacher[3] = np.nan
    video = embed_video(model, replace(windows, teacher=teacher))
    assert np.isnan(video[3]).all()
    assert np.allclose(np.linalg.norm(np.delete(video, 3, axis=0), axis=1), 1, atol=1e-5)


def test_retrieval_is_perfect_without_noise_and_chance_with_it(paired: LabelledWindows) -> None:
    def figures(noise: float) -> dict[tuple[str, str], Any]:
        loaded = config(retrieval={"gallery": 16, "galleries": 60})
        results = run_retrieval(paired, Pair(noise=noise), loaded, {})  # type: ignore[arg-type]
        return {(r.probe, r.metric): r for r in results}

    exact, blind = figures(0.0), figures(1000.0)
    for way in ("imu to video", "video to imu"):
        assert exact[way, "R@1"].value == 1.0
        assert exact[way, "MRR"].value == 1.0
        assert blind[way, "R@1"].value == pytest.approx(1 / 16, abs=0.03)
        assert blind[way, "R@5"].value == pytest.approx(5 / 16, abs=0.06)
        assert blind[way, "R@1"].chance == 1 / 16
        assert exact[way, "R@1"].details["gallery"] == 16


def test_galleries_hold_distinct_samples_and_every_device(paired: LabelledWindows) -> None:
    galleries = draw_galleries(paired.sample, 20, 30, seed=3)
    for g in galleries:
        assert len(g) == len(np.unique(paired.sample[g])) == 20
    assert set(paired.facts["placement"][np.concatenate(galleries)]) == {"wrist", "ankle"}
    again = draw_galleries(paired.sample, 20, 30, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(galleries, again, strict=True))


def test_person_figures_average_to_plain_retrieval() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(12, 12))
    ranks = (similarity >= similarity.diagonal()[:, None]).sum(axis=1)[None]
    person = np.repeat(np.arange(3), 4)[None]
    stack = person_figures(ranks, person, 4, [1, 5])
    plain = retrieval(similarity, ks=(1, 5))
    assert np.allclose(np.nanmean(stack, axis=(1, 2)), [plain["R@1"], plain["R@5"], plain["MRR"]])
    assert np.isnan(stack[:, 3]).all(), "a person without a query has no figure"
