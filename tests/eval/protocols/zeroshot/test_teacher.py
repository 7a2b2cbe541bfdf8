"""Teacher-label transfer: probes learn from videos, IMU windows are asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eval.config import EvalConfig
from eval.data.embeddings import embed_imu, embed_video
from eval.data.windows import LabelledWindows
from eval.probes import probes
from eval.protocols.zeroshot.sections import form_of
from eval.protocols.zeroshot.teacher import run_teacher
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError


def run(paired: LabelledWindows, model: Any, **changes: object) -> dict[tuple[str, str], Any]:
    config = validate({**changes}, EvalConfig, source="test")
    results = run_teacher(paired, model, config, {})
    return {(r.model, str(r.probe)): r for r in results if r.metric == "balanced_accuracy"}


def test_probes_of_videos_serve_imu(paired: LabelledWindows, pair: Any) -> None:
    found = run(paired, pair(), probes=["prototype", "ridge", "logreg"])
    assert set(found) == {(m, p) for m in ("pretrained", "teacher") for p in ("prototype", "ridge", "logreg")}
    assert all(r.value == 1.0 and form_of(r) == "teacher" and r.chance == 0.25 for r in found.values())
    assert found["pretrained", "ridge"].details["teacher"] == "t"
    assert found["pretrained", "ridge"].details["labelled"] == {f"activity{c}": 18 for c in range(4)}
    blurred = run(paired, pair(noise=1.0))
    assert blurred["pretrained", "ridge"].value < blurred["teacher", "ridge"].value == 1.0


def test_it_is_the_probe_fitted_on_each_support_video_once(paired: LabelledWindows, pair: Any) -> None:
    model = pair(noise=0.5)
    once = (paired.facts["split"] == "train") & (paired.facts["placement"] == "wrist")
    once &= np.isfinite(paired.teacher).all(axis=1)
    fitted = probes.build("ridge").fit(embed_video(model, paired)[once], paired.labels[once], classes=4)
    asked = paired.take(np.flatnonzero(paired.facts["split"] == "test"))
    hits = fitted.scores(embed_imu(model, asked)).argmax(axis=1) == asked.labels
    people = [hits[asked.subject == s].mean() for s in np.unique(asked.subject)]
    assert run(paired, model)["pretrained", "ridge"].value == pytest.approx(np.mean(people))


def test_permuted_pairs_and_shuffled_labels_are_at_chance(paired: LabelledWindows, pair: Any) -> None:
    permuted = run(paired, pair(permuted=True))
    assert permuted["pretrained", "ridge"].value == pytest.approx(0.25, abs=0.08)
    assert permuted["teacher", "ridge"].value == 1.0
    shuffled = replace(paired, labels=np.random.default_rng(1).integers(0, 4, len(paired)))
    assert run(shuffled, pair())["pretrained", "ridge"].value == pytest.approx(0.25, abs=0.08)


def test_who_gave_labels_is_not_asked_and_a_class_needs_videos(paired: LabelledWindows, pair: Any) -> None:
    with pytest.raises(LeakageError, match="provide video labels and are query subjects"):
        run(paired, pair(), zeroshot={"support": {"split": "test"}})
    blank = replace(paired, teacher=np.where((paired.labels == 2)[:, None], np.nan, paired.teacher))
    with pytest.raises(ConfigError, match="class 'activity2' has no usable window"):
        run(blank, pair())
    with pytest.raises(ConfigError, match="have no teacher features"):
        run(replace(paired, teacher=None), pair())
