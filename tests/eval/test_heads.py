"""Fitting a head: subjects that are left out, classes that are left out, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.data.features import encoder_features
from eval.data.windows import LabelledWindows
from eval.heads import fit_head
from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.errors import ConfigError, ShardError
from imu_video.metrics.classify import accuracy, confusion_counts

Make = Callable[..., LabelledWindows]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    spec = InputSpec(rate_hz=32, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8})
    folder: Path = tmp_path_factory.mktemp("encoder") / "mine"
    return load_encoder(made.save(folder))


def test_the_evidence_is_that_of_a_loop_over_subjects_left_out(bundle: EncoderBundle, make: Make) -> None:
    from eval.probes.logreg import LogregProbe

    windows = make(people=4, recordings=1)
    head = fit_head(bundle, windows)
    features = bundle.encode(windows.x, rate_hz=32)
    values = []
    for one in np.unique(windows.subject):
        query = windows.subject == one
        fitted = LogregProbe().fit(features[~query], windows.labels[~query], classes=4)
        predicted = fitted.scores(features[query]).argmax(axis=1)
        values.append(float(accuracy(confusion_counts(windows.labels[query], predicted, classes=4))))
    assert head.evidence["accuracy"]["value"] == pytest.approx(np.mean(values), abs=1e-4)
    assert head.spec.placements == ("ankle", "wrist")
    assert head.encoder == bundle.weights_sha256


def test_a_class_of_one_subject_is_left_out_and_named(bundle: EncoderBundle, make: Make) -> None:
    windows = make(people=3, recordings=1)
    labels = windows.labels.copy()
    labels[(windows.labels == 3) & (windows.subject != "s00")] = 0
    head = fit_head(bundle, replace(windows, labels=labels))
    assert head.spec.classes == ("activity0", "activity1", "activity2")
    assert head.evidence["left_out_classes"] == ["activity3"]
    with pytest.raises(ConfigError, match="fewer than two subjects: activity3"):
        fit_head(bundle, replace(windows, labels=labels), classes=["activity0", "activity3"])
    with pytest.raises(ConfigError, match="'walk' is not in the data"):
        fit_head(bundle, windows, classes=["activity0", "walk"])


def test_impossible_requests_are_refused(bundle: EncoderBundle, make: Make) -> None:
    with pytest.raises(ShardError, match="one subject"):
        fit_head(bundle, make(people=1), classes=None)
    windows = make(people=2, recordings=1)
    with pytest.raises(ConfigError, match="not linear"):
        fit_head(bundle, windows, probe="knn")
    with pytest.raises(ConfigError, match="gravity is 'removed', but the encoder was trained with 'included'"):
        fit_head(bundle, replace(windows, gravity="removed"))
    with pytest.raises(ConfigError, match="gravity is 'removed', but the encoder was trained with 'included'"):
        encoder_features(bundle, replace(windows, gravity="removed"))
    unsaved = EncoderBundle(spec=bundle.spec, encoder=bundle.encoder_config)
    with pytest.raises(ConfigError, match="not loaded from a folder"):
        fit_head(unsaved, windows)
