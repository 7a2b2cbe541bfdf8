"""Few-shot episodes: ours, all in one batch, against a loop over scikit-learn's estimators; fitting and predicting.

The episodes are those that `imu-eval fewshot` draws. The features are made up: as far apart as `--apart` says, so that
the classes are told apart well or badly. Each side scales by the support, fits, and predicts the episode's queries;
ours predicts every window of the domain, as `imu-eval` does. Predictions are compared with converged ones in float64.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from common import compare, heading, parser
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from eval.data.splits import Domain, EpisodeConfig, Episodes, draw_episodes
from eval.data.windows import LabelledWindows
from eval.probes import LogregProbe, Probe, RidgeProbe, fit_supports, predict_many
from eval.probes.ridge import STRENGTHS
from imu_video.types import IMU_CHANNELS

PEOPLE, CLASSES, SHOTS, WIDTH = 30, 12, 5, 256
Estimator = Callable[[np.ndarray], ClassifierMixin]
"""Scaled support -> the unfitted estimator with our probe's objective."""


def made_domain(per_class: int, episodes: int) -> tuple[LabelledWindows, Episodes]:
    """Windows without signal, and the episodes on them."""
    each = PEOPLE * CLASSES * per_class
    person, label = np.divmod(np.arange(each) // per_class, CLASSES)
    names = tuple(f"class{c:02d}" for c in range(CLASSES))
    subject = np.array([f"s{p:02d}" for p in person])
    same = {name: np.full(each, "made") for name in ("placement", "session", "split")}
    windows = LabelledWindows(
        x=np.zeros((each, 6, 1), np.float32),
        labels=label.astype(np.int64),
        classes=names,
        facts={"subject": subject, "recording": np.array([f"r{i}" for i in range(each)]), **same},
        start=np.zeros(each),
        sample=np.arange(each),
        dataset="made",
        digest="made",
        rate_hz=50.0,
        window_s=1.0,
        channels=IMU_CHANNELS,
    )
    config = EpisodeConfig(shots=[SHOTS], episodes=episodes)
    return windows, draw_episodes(windows, Domain(name="made", split="made"), config)


def made_features(windows: LabelledWindows, apart: float) -> np.ndarray:
    """Class means, people's own offsets, 32 shared directions and noise. Shape: (N, E) float32."""
    rng = np.random.default_rng(0)
    person = np.unique(windows.subject, return_inverse=True)[1]
    x = apart * rng.normal(size=(CLASSES, WIDTH))[windows.labels] + 0.5 * rng.normal(size=(PEOPLE, WIDTH))[person]
    shared = rng.normal(size=(len(windows), 32)) / np.sqrt(np.arange(1, 33))
    return (x + shared @ rng.normal(size=(32, WIDTH)) + 1.5 * rng.normal(size=x.shape)).astype(np.float32)


def unit(z: np.ndarray) -> float:
    """Mean eigenvalue of the kernel, in which the strengths of `RidgeProbe` are given."""
    return float((z**2).sum() / len(z))


def logistic(tol: float) -> Estimator:
    """The objective of `LogregProbe`, whose features are divided by the root of their number."""
    return lambda z: LogisticRegression(C=CLASSES / (2e-3 * len(z)) / z.shape[1], tol=tol, max_iter=100_000)


class Bench:
    """Episodes, and what is done with them."""

    def __init__(self, per_class: int, episodes: int, loops: int, apart: float) -> None:
        windows, drawn = made_domain(per_class, episodes)
        self.x = made_features(windows, apart)
        self.labels = windows.labels
        self.supports = [episode.support_rows(SHOTS) for episode in drawn.episodes]
        self.queries = [episode.query for episode in drawn.episodes]
        self.loops = loops
        asked = np.mean([len(q) for q in self.queries])
        print(f"{len(self.x)} windows of {PEOPLE} people, {asked:.0f} queries an episode, classes {apart:g} apart")

    def ours(self, probe: Probe) -> list[np.ndarray]:
        """All episodes."""
        every = predict_many(fit_supports(probe, self.x, self.supports, classes=CLASSES), self.x)
        return [p[q] for p, q in zip(every, self.queries, strict=True)]

    def loop(self, estimator: Estimator, kind: type[np.floating] = np.float32) -> list[np.ndarray]:
        """The first episodes, one by one."""
        out = []
        for (rows, labels), query in zip(self.supports[: self.loops], self.queries, strict=False):
            scaler = StandardScaler().fit(self.x[rows].astype(kind, copy=False))
            z = scaler.transform(self.x[rows].astype(kind, copy=False))
            model = estimator(z).fit(z, labels)
            out.append(model.predict(scaler.transform(self.x[query].astype(kind, copy=False))))
        return out

    def share_of_eigh(self, probe: Probe) -> float:
        """Share of processor time that LAPACK's eigendecomposition has in fitting and predicting all episodes."""
        inside, eigh = 0.0, torch.linalg.eigh

        def timed(matrices: torch.Tensor) -> object:
            nonlocal inside
            begun = time.process_time()
            found = eigh(matrices)
            inside += time.process_time() - begun
            return found

        begun = time.process_time()
        with mock.patch.object(torch.linalg, "eigh", timed):
            self.ours(probe)
        return inside / (time.process_time() - begun)

    def agreement(self, name: str, predicted: list[np.ndarray], exact: list[np.ndarray]) -> None:
        """Print how often predictions are the converged ones."""
        same = np.mean(np.concatenate(predicted[: self.loops]) == np.concatenate(exact))
        print(f"{name}: {100 * same:.3f} % of {sum(map(len, exact))} predictions are the converged ones")


def main(bench: Bench, repeats: int) -> None:
    """Compare, a probe at a time."""
    strengths = np.array(STRENGTHS)
    rows: list[tuple[str, Probe, dict[str, Estimator], Estimator]] = [
        (
            "ridge, one strength",
            RidgeProbe(strengths=[1.0]),
            {"RidgeClassifier": lambda z: RidgeClassifier(alpha=unit(z))},
            lambda z: RidgeClassifier(alpha=unit(z)),
        ),
        (
            "ridge, strength by leave-one-out",
            RidgeProbe(),
            {"RidgeClassifierCV": lambda z: RidgeClassifierCV(alphas=unit(z) * strengths)},
            lambda z: RidgeClassifierCV(alphas=unit(z) * strengths),
        ),
        (
            "logreg",
            LogregProbe(),
            {f"LogisticRegression, tol={t:g}": logistic(t) for t in (1e-4, 1e-6, 1e-8)},
            logistic(1e-9),
        ),
    ]
    for name, probe, others, exact in rows:

        def ours(probe: Probe = probe) -> int:
            return len(bench.ours(probe))

        def loop(estimator: Estimator) -> Callable[[], int]:
            return lambda: len(bench.loop(estimator))

        reference = bench.loop(exact, np.float64)
        right = np.mean(
            np.concatenate(reference) == np.concatenate([bench.labels[q] for q in bench.queries[: bench.loops]])
        )
        print(f"\n{name}: {100 * right:.1f} % right")
        bench.agreement(name, bench.ours(probe), reference)
        for other, estimator in others.items():
            bench.agreement(other, bench.loop(estimator), reference)
        if isinstance(probe, RidgeProbe) and len(probe.strengths) > 1:
            shares = sorted(bench.share_of_eigh(probe) for _ in range(repeats))
            print(
                f"{name}: {100 * shares[len(shares) // 2]:.0f} % of the time is the eigendecomposition "
                f"({100 * shares[0]:.0f} .. {100 * shares[-1]:.0f})"
            )
        ways = {name: ours} | {other: loop(estimator) for other, estimator in others.items()}
        for other in others:
            compare({name: ways[name], other: ways[other]}, repeats=repeats, unit="episodes", against={name: other})


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--episodes", type=int, default=1000)
    arguments.add_argument("--loops", type=int, default=60, help="of how many episodes the loop is timed")
    arguments.add_argument("--per-class", type=int, default=1, help="windows of a person and class")
    arguments.add_argument("--apart", type=float, default=0.7)
    options = arguments.parse_args()
    heading(f"{options.episodes} episodes of {CLASSES} classes, {SHOTS} shots, {WIDTH} float32 features")
    main(Bench(options.per_class, options.episodes, options.loops, options.apart), options.repeats)
