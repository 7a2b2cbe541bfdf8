"""Zero-shot from video with a student whose quality is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from eval.config import EvalConfig
from eval.data.embeddings import embed_imu, embed_video
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.video import build_prototypes, run_video
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError
from imu_video.models.cross_modal import CrossModalModel

CLASSES = 4


def config(**changes: object) -> EvalConfig:
    return validate({**changes}, EvalConfig, source="test")


def run(paired: LabelledWindows, model: Any, **changes: object) -> dict[tuple[str, str], Any]:
    results = run_video(paired, model, config(**changes), {})
    return {(r.model, r.metric): r for r in results}


def test_a_perfect_student_is_perfect_and_a_blind_one_at_chance(paired: LabelledWindows, pair: Any) -> None:
    perfect = run(paired, pair())
    assert perfect["pretrained", "accuracy"].value == 1.0
    assert perfect["teacher", "accuracy"].value == 1.0
    blind = run(paired, pair(noise=1000.0))
    assert blind["pretrained", "balanced_accuracy"].value == pytest.approx(0.25, abs=0.08)
    assert blind["pretrained", "balanced_accuracy"].chance == 0.25
    assert blind["teacher", "accuracy"].value == 1.0, "the ceiling does not depend on the student"


def test_prototypes_are_class_means_with_each_sample_once(paired: LabelledWindows, pair: Any) -> None:
    made = build_prototypes(pair(), paired, config(), paired.classes)
    assert made.subjects == ("s07", "s08", "s09")
    rows = np.flatnonzero((paired.facts["split"] == "train") & (paired.facts["placement"] == "wrist"))
    for c in range(CLASSES):
        own = [paired.teacher[r] for r in rows if paired.labels[r] == c]
        mean = np.mean([v / np.linalg.norm(v) for v in own], axis=0)
        assert np.allclose(made.mean[c], mean / np.linalg.norm(mean), atol=1e-5)
        assert made.anchors[c] == len(own) == 18
    few = build_prototypes(pair(), paired, config(zeroshot={"anchors": 2}), paired.classes)
    assert few.anchors == (2,) * CLASSES


def test_the_number_of_anchors_is_stated(paired: LabelledWindows, pair: Any) -> None:
    result = run(paired, pair(), zeroshot={"anchors": 3})["pretrained", "accuracy"]
    assert result.details["anchors"] == {f"activity{c}": 3 for c in range(CLASSES)}
    assert "noisy" in result.details["remark"]
    assert (result.subjects, result.shots) == (7, 0)


def test_prototype_people_and_pretraining_people_are_never_queried(paired: LabelledWindows, pair: Any) -> None:
    with pytest.raises(LeakageError, match="provide prototypes and are query subjects"):
        run(paired, pair(), zeroshot={"support": {"split": "test"}})
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s02"]}}}
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run(paired, pair(lineage=lineage))


def test_a_class_without_video_is_named(paired: LabelledWindows, pair: Any) -> None:
    blank = replace(paired, teacher=np.where((paired.labels == 2)[:, None], np.nan, paired.teacher))
    with pytest.raises(ConfigError, match="class 'activity2' has no video"):
        run(blank, pair())
    with pytest.raises(ConfigError, match="have no teacher features"):
        run(replace(paired, teacher=None), pair())


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


def test_permuted_pairs_and_shuffled_labels_are_at_chance(paired: LabelledWindows, pair: Any) -> None:
    permuted = run(paired, pair(permuted=True))["pretrained", "balanced_accuracy"]
    assert permuted.low < 0.25 < permuted.high
    rng = np.random.default_rng(1)
    shuffled = replace(paired, labels=rng.integers(0, CLASSES, len(paired)))
    result = run(shuffled, pair())["pretrained", "balanced_accuracy"]
    assert result.value == pytest.approx(0.25, abs=0.08)
    assert result.details["form"] == "video"
