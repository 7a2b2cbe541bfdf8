"""One run: an algorithm trains a network on source domains and is asked in the target; scenario.py divides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.algorithms import AdamSettings, Algorithm, DomainBatch, Network, algorithms
from eval.data.features import at_spec_rate
from eval.finetune.wise import choose_alpha, interpolate
from eval.probes.base import Confidence, confidence_of
from eval.protocols.ood.config import Model, OodConfig
from eval.protocols.ood.runs import Run
from eval.protocols.ood.scenario import Division, Domains, division
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.bundle.input_spec import InputSpec, fit_input_spec
from imu_video.metrics.calibration import reliability_bins
from imu_video.metrics.classify import confusion_counts
from imu_video.types import JsonDict

_EVAL_BATCH = 512


class Task:
    """The windows of a scenario as tensors, shared by every run of a process.

    Args:
        domains: from `eval.protocols.ood.scenario.divide`.
        config: of the benchmark.
    """

    def __init__(self, domains: Domains, config: OodConfig) -> None:
        self.domains, self.config = domains, config
        self.models = {model.name: model for model in config.models}
        self.labels = torch.from_numpy(domains.windows.labels)
        self._at_rate = lru_cache(maxsize=4)(self._windows)
        self._features: dict[str, torch.Tensor] = {}

    def _windows(self, rate_hz: float) -> tuple[torch.Tensor, torch.Tensor]:
        """All windows (N, C, T) at a rate, zeros where missing, and their mask."""
        windows = self.domains.windows
        if math.isclose(windows.rate_hz, rate_hz, rel_tol=1e-6):
            values = windows.x
        else:
            spec = InputSpec(rate_hz=rate_hz, window_s=windows.window_s, mean=(0,) * 6, std=(1,) * 6)
            values = at_spec_rate(windows.x, rate_hz=windows.rate_hz, spec=spec)
        imu = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        mask = imu.isfinite()
        return torch.where(mask, imu, 0), mask

    def batch(self, rows: np.ndarray, rate_hz: float) -> DomainBatch:
        """Windows of the named rows."""
        imu, mask = self._at_rate(rate_hz)
        at = torch.from_numpy(rows)
        return DomainBatch(imu=imu[at], mask=mask[at], label=self.labels[at])

    @torch.inference_mode()
    def features(self, model: Model, network: Network) -> torch.Tensor:
        """Features (N, E) of all windows by a frozen pretrained encoder, computed once for all models that have it."""
        if str(model.encoder) not in self._features:
            imu, mask = self._at_rate(network.encoder.spec.rate_hz)
            pieces = zip(imu.split(_EVAL_BATCH), mask.split(_EVAL_BATCH), strict=True)
            self._features[str(model.encoder)] = torch.cat([network.encoder.eval()(*piece) for piece in pieces])
        return self._features[str(model.encoder)]

    def network(self, model: Model, rows: np.ndarray, seed: int) -> Network:
        """A model's network: its encoder fresh (normalised by the training rows) or as exported."""
        windows = self.domains.windows
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if model.encoder is not None:
                bundle = load_encoder(Path(model.encoder))
            else:
                spec = fit_input_spec(
                    windows.x[rows], rate_hz=windows.rate_hz, window_s=windows.window_s, channels=windows.channels
                )
                bundle = EncoderBundle(spec=spec, encoder=model.backbone or {})
            return Network(bundle, len(windows.classes), frozen=model.train == "head")


def train(task: Task, run: Run, *, updates: int | None = None) -> JsonDict:
    """Train and ask, choosing the checkpoint on source validation alone.

    Args:
        task: windows and config.
        run: what to train.
        updates: stop early after so many (to estimate cost); None runs the schedule.

    Returns:
        The run, ``steps`` and ``valid`` (mean accuracy over the source domains) of its best checkpoint, ``people``
        (subject -> (M, M) confusion counts in the target at that checkpoint), ``bins`` (subject -> (B, 3) reliability
        bins there, where scores are probabilities), the ``curve`` of (step, valid, target accuracy), and ``seconds``.
        With ``train: wise`` figures are those of the chosen ``alpha``, steps and curve of the fine-tuning, and
        ``by_alpha`` is a list of (alpha, valid, target accuracy), ``probe_steps`` the probe's.

    Raises:
        ConfigError, LeakageError: a division that is impossible or not allowed.
    """
    began = time.perf_counter()
    config, model = task.config, task.models[run.model]
    split = division(task.domains, config.scenario, target=run.target, held=run.held, seed=run.seed)
    network = task.network(model, np.concatenate(split.train), run.seed)
    asked = _Asked(task, split, network.encoder.spec.rate_hz)
    encoder = network.encoder
    once = model.encoder is not None and not algorithms.get(run.algorithm).changes_windows
    if once and model.train in ("head", "wise"):
        asked.features = task.features(model, network)
        network.skip_encoder()
    if model.train == "wise":
        network.freeze(True)
        probe, algorithm = _fit(asked, run, network, updates)
        if once:
            asked.features = None
            probe = replace(probe, weights=_with_encoder(algorithm, probe.weights, encoder))
        network.freeze(False)
        tuned, algorithm = _fit(asked, run, network, updates, start=probe.weights)
        best: JsonDict = _between(asked, algorithm, probe, tuned, model.alphas)
    else:
        tuned, _ = _fit(asked, run, network, updates)
        best = {"valid": tuned.valid, "steps": tuned.steps, **tuned.told.stored()}
    return {
        **{k: v for k, v in vars(run).items() if k != "setting"},
        "setting": dict(run.setting),
        **best,
        "curve": tuned.curve,
        "classes": list(task.domains.windows.classes),
        "source_windows": int(sum(map(len, split.train))),
        "seconds": round(time.perf_counter() - began, 3),
    }


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    """The best of a training on source validation, and the whole training's curve."""

    valid: float
    steps: int
    told: _Told
    weights: dict[str, torch.Tensor]
    curve: list[list[float]]


def _fit(
    asked: _Asked,
    run: Run,
    network: Network,
    updates: int | None,
    *,
    start: dict[str, torch.Tensor] | None = None,
) -> tuple[_Checkpoint, Algorithm]:
    """One training of the network by the run's algorithm, from the weights of ``start`` or as it is."""
    config, model = asked.task.config, asked.task.models[run.model]
    setting = dict(run.setting)
    training = config.training
    adam = AdamSettings(
        lr=setting.pop("lr", model.lr) or training.lr,
        weight_decay=training.weight_decay,
        betas=training.betas,
        encoder_factor=model.encoder_factor,
    )
    generator = torch.Generator().manual_seed(run.seed)
    algorithm = algorithms.build({"name": run.algorithm, **setting})
    best: dict[str, Any] = {"valid": -1.0}
    curve = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed + 1)  # initial weights of what the algorithm adds, and dropout
        algorithm.begin(network, domains=len(asked.split.train), adam=adam, generator=generator)
        if start is not None:
            algorithm.restore(start)
        total = config.training.steps if updates is None else updates
        draw = _draws(asked.split, config.training.batch, run.seed)
        algorithm.train()
        for step in range(1, total + 1):
            algorithm.update([asked.batch(rows) for rows in draw()])
            if step % config.training.evaluate_every == 0 or step == total:
                algorithm.eval()
                valid, told = asked.valid(algorithm), asked.target(algorithm)
                curve.append([step, round(valid, 6), round(told.accuracy, 6)])
                if valid > best["valid"]:
                    best = {"valid": valid, "steps": step, "told": told, "weights": algorithm.snapshot()}
                algorithm.train()
    return _Checkpoint(**best, curve=curve), algorithm


def _with_encoder(
    algorithm: Algorithm, weights: dict[str, torch.Tensor], encoder: EncoderBundle
) -> dict[str, torch.Tensor]:
    """Weights of a training that skipped a frozen encoder, with those of the encoder, in copies of the network too."""
    algorithm.restore(weights)
    for part in algorithm.modules():
        if isinstance(part, Network):
            part.encoder = encoder
    return algorithm.snapshot()


def _between(
    asked: _Asked, algorithm: Algorithm, probe: _Checkpoint, tuned: _Checkpoint, alphas: Sequence[float]
) -> JsonDict:
    """Source validation and target at every alpha, and what is reported at the one that source validation chooses."""
    valid, told = [], []
    algorithm.eval()
    for alpha in alphas:
        algorithm.restore(interpolate(probe.weights, tuned.weights, alpha))
        valid.append(asked.valid(algorithm))
        told.append(asked.target(algorithm))
    chosen = choose_alpha(alphas, valid)
    curve = [[a, round(v, 6), round(t.accuracy, 6)] for a, v, t in zip(alphas, valid, told, strict=True)]
    best = {"valid": valid[chosen], "steps": tuned.steps, **told[chosen].stored()}
    return {**best, "alpha": alphas[chosen], "by_alpha": curve, "probe_steps": probe.steps}


class _Asked:
    """Who is asked in one run, while training (source validation) and of the target.

    Args:
        task: windows.
        split: their division.
        rate_hz: of the network's encoder.
    """

    def __init__(self, task: Task, split: Division, rate_hz: float) -> None:
        self.task, self.split, self.rate_hz = task, split, rate_hz
        self.features: torch.Tensor | None = None

    def batch(self, rows: np.ndarray) -> DomainBatch:
        """Windows of rows, or their features where those are known."""
        if self.features is not None:
            at = torch.from_numpy(rows)
            values = self.features[at]
            return DomainBatch(imu=values, mask=torch.ones_like(values, dtype=torch.bool), label=self.task.labels[at])
        return self.task.batch(rows, self.rate_hz)

    def valid(self, algorithm: Algorithm) -> float:
        """Mean accuracy over the source domains' validation windows."""
        labels = self.task.domains.windows.labels
        own = [(self._scores(algorithm, r).argmax(axis=1) == labels[r]).mean() for r in self.split.valid if len(r)]
        return float(np.mean(own))

    def target(self, algorithm: Algorithm) -> _Told:
        """What is told about each person of the target."""
        windows, rows = self.task.domains.windows, self.split.query
        scores, truth, m = self._scores(algorithm, rows), windows.labels[rows], len(windows.classes)
        predicted = scores.argmax(axis=1)
        stated = None if algorithm.confidence is None else _stated(scores, algorithm.confidence)
        own = {str(s): windows.subject[rows] == s for s in np.unique(windows.subject[rows])}
        return _Told(
            people={s: confusion_counts(truth[o], predicted[o], classes=m) for s, o in own.items()},
            bins=None
            if stated is None
            else {s: reliability_bins(stated[o], (predicted == truth)[o]) for s, o in own.items()},
        )

    @torch.inference_mode()
    def _scores(self, algorithm: Algorithm, rows: np.ndarray) -> np.ndarray:
        out = []
        for first in range(0, len(rows), _EVAL_BATCH):
            part = self.batch(rows[first : first + _EVAL_BATCH])
            out.append(algorithm.predict(part.imu, part.mask).numpy())
        return np.concatenate(out)


def _stated(scores: np.ndarray, how: Confidence) -> np.ndarray:
    """Confidence of each answer; where training diverged scores are no numbers and state nothing: 1 / M."""
    with np.errstate(invalid="ignore"):
        found = confidence_of(scores, how)
    return np.where(np.isfinite(found), found, 1 / scores.shape[1])


@dataclass(frozen=True, kw_only=True)
class _Told:
    """Confusion counts (M, M), true by predicted, and reliability bins (B, 3) of each person of the target."""

    people: dict[str, np.ndarray]
    bins: dict[str, np.ndarray] | None

    @property
    def accuracy(self) -> float:
        counts = np.sum(list(self.people.values()), axis=0)
        return float(np.trace(counts) / counts.sum())

    def stored(self) -> JsonDict:
        """As a run's file has it."""
        out: JsonDict = {"people": {s: counts.tolist() for s, counts in self.people.items()}}
        return out if self.bins is None else {**out, "bins": {s: b.round(6).tolist() for s, b in self.bins.items()}}


def _draws(split: Division, batch: int, seed: int) -> Callable[[], list[np.ndarray]]:
    """A function that draws rows of every source domain, with replacement."""
    rng = np.random.default_rng([seed, 7])
    return lambda: [rows[rng.integers(len(rows), size=batch)] for rows in split.train]


def estimate(task: Task, todo: Sequence[Run], *, updates: int = 6) -> float:
    """Seconds that runs will take in one process, from a few updates of one run of each model and algorithm."""
    seconds: dict[tuple[str, str], float] = {}
    for run in todo:
        kind = (run.model, run.algorithm)
        if kind not in seconds:
            train(task, run, updates=1)  # warm-up
            one = _timed(lambda run=run: train(task, run, updates=1))  # type: ignore[misc]
            more = _timed(lambda run=run: train(task, run, updates=1 + updates))  # type: ignore[misc]
            each = max(more - one, 1e-4) / updates
            asked = task.config.training.steps / task.config.training.evaluate_every
            seconds[kind] = task.config.training.steps * each + asked * one
    return sum(seconds[run.model, run.algorithm] for run in todo)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
