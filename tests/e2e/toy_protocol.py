"""A plugin with an evaluation protocol of a user's own: how well one feature of the encoder separates each class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.data.features import encoder_features
from eval.data.windows import load_windows
from eval.protocol import Context, Protocol, protocols
from eval.results.intervals import Intervals
from eval.results.lines import Result, provenance
from imu_video.bundle.encoder import load_encoder
from imu_video.config import Config
from imu_video.metrics.inference import estimate
from imu_video.shards.reading.index import load_index


class ToyConfig(Config):
    """Settings of the toy protocol: the interval."""

    intervals: Intervals = Intervals()


@protocols.register("toy")
class Toy(Protocol):
    """Classify windows by the nearest class mean of one feature, leaving out the subject that is tested."""

    name = "toy"
    Config = ToyConfig
    variants = ("feature",)
    notes = ("Toy: every subject is tested on class means of the other subjects.",)

    def __init__(self, *, encoder: Path, data: Path, feature: int = 0, split: str = "test") -> None:
        self.encoder, self.data, self.feature, self.split = encoder, data, feature, split

    def run(self, context: Context) -> list[Result]:
        index, config = load_index(self.data), ToyConfig()
        windows = load_windows(index, splits=[self.split])
        x = encoder_features(load_encoder(self.encoder), windows)[:, self.feature]
        correct = []
        for subject in np.unique(windows.subject):
            own = windows.subject == subject
            classes = np.unique(windows.labels[~own])
            means = np.array([x[~own & (windows.labels == c)].mean() for c in classes])
            predicted = classes[np.abs(x[own, None] - means).argmin(axis=1)]
            correct.append(float((predicted == windows.labels[own]).mean()))
        logging.getLogger("eval.toy").info("%d subjects", len(correct))
        line = Result.build(
            estimate(np.array([[correct]]), fraction=True),
            config.intervals.level,
            shared=provenance(
                encoder={"name": self.encoder.name, "weights": "toy"},
                data={"dataset": index.dataset, "digest": index.digest},
                config=config,
            ),
            seeds={},
            kind="toy",
            metric="accuracy",
            model="pretrained",
            probe="nearest mean",
            domain=self.split,
            chance=1 / len(windows.classes),
            details={"feature": self.feature, "remarks": [f"feature {self.feature} only"]},
        )
        return [line]

    @classmethod
    def conclusions(cls, results: Sequence[Result]) -> list[str]:
        return [f"Feature {r.details['feature']} reaches {r.value:.3f} in {r.domain}." for r in results]
