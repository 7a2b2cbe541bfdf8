"""One run: trains a network on source domains and evaluates it on the target; the division is made in scenario.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.algorithms import AdamSettings, Algorithm, DomainBatch, Network, algorithms
from eval.data.features import at_rate, check_channels, spec_of
from eval.finetune.wise import choose_alpha, interpolate
from eval.probes.base import Confidence, confidence_of
from eval.protocols.ood.config import Model, OodConfig
from eval.protocols.ood.runs import Run
from eval.protocols.ood.scenario import Division, Domains, division
from eval.protocols.ood.settings import apply_setting
from eval.registry import selection_rules
from imu_video.bundle.encoder import EncoderBundle, load_encoder
from imu_video.bundle.input_spec import InputSpec
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
        self._prepared = lru_cache(maxsize=4)(self._windows)
        self._features: dict[str, torch.Tensor] = {}

    def _windows(self, channels: tuple[str, ...], rate_hz: float) -> tuple[torch.Tensor, torch.Tensor]:
        """All windows (N, C, T) of some channels at a rate, zeros where missing, and their mask."""
        windows = self.domains.windows
        x = windows.x
        if channels != windows.channels:
            x = x[:, [windows.channels.index(c) for c in channels]]
        values = at_rate(x, rate_hz=windows.rate_hz, wanted_hz=rate_hz)
        imu = torch.from_numpy(np.require(values, dtype=np.float32, requirements=["C", "W"]))
        mask = imu.isfinite()
        return torch.where(mask, imu, 0), mask

    def _tensors(self, spec: InputSpec) -> tuple[torch.Tensor, torch.Tensor]:
        # By channels and rate, because the normalisation differs between the runs of an untrained network.
        return self._prepared(spec.channels, spec.rate_hz)

    def batch(self, rows: np.ndarray, spec: InputSpec) -> DomainBatch:
        """Windows of the given rows as an encoder takes them, with mask and labels."""
        imu, mask = self._tensors(spec)
        at = torch.from_numpy(rows)
        return DomainBatch(imu=imu[at], mask=mask[at], label=self.labels[at])

    @torch.inference_mode()
    def features(self, model: Model, network: Network) -> torch.Tensor:
        """Features (N, E) of all windows by a frozen pretrained encoder, computed once per encoder."""
        if str(model.encoder) not in self._features:
            imu, mask = self._tensors(network.encoder.spec)
            pieces = zip(imu.split(_EVAL_BATCH), mask.split(_EVAL_BATCH), strict=True)
            self._features[str(model.encoder)] = torch.cat([network.encoder.eval()(*piece) for piece in pieces])
        return self._features[str(model.encoder)]

    def network(self, model: Model, rows: np.ndarray, seed: int) -> Network:
        """The network of a model: an exported encoder, or an untrained one that is normalised by the training rows."""
        windows = self.domains.windows
        # The initial weights depend on the seed alone, whatever was drawn before in this process.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if model.encoder is not None:
                bundle = load_encoder(Path(model.encoder))
                check_channels(windows, bundle.spec, name=f"model {model.name!r}")
            else:
                spec = spec_of(windows, rows)
                bundle = EncoderBundle(spec=spec, encoder=model.backbone or {})
            return Network(bundle, len(windows.classes), frozen=model.train == "head")


def train(task: Task, run: Run, *, updates: int | None = None) -> JsonDict:
    """Train a network and evaluate it in the target; the checkpoint is selected on source validation only.

    Args:
        task: windows and config.
        run: model, algorithm, setting, target and seed.
        updates: number of updates, to estimate the cost; None = the configured schedule.

    Returns:
        The fields of the run and:

        - ``steps``, ``valid``: step of the best checkpoint and its mean accuracy over the source domains.
        - ``people``: subject -> (M, M) confusion counts in the target at that checkpoint.
        - ``bins``: subject -> (B, 3) reliability bins there, if scores are probabilities.
        - ``curve``: (step, valid, target accuracy) of every evaluation.
        - ``checkpoints``: step -> ``people`` at that evaluation, if a selection rule of the config requires it.
        - ``classes``, ``source_windows``, ``seconds``.

        With ``train: wise`` the results are those of the selected ``alpha``; ``steps`` and ``curve`` are those of
        fine-tuning, ``by_alpha`` is a list of (alpha, valid, target accuracy), and ``probe_steps`` is the step of the
        linear probe.

    Raises:
        ConfigError: the division is not possible.
        LeakageError: the division would leak, see `Division`.
    """
    began = time.perf_counter()
    config, model = task.config, task.models[run.model]
    split = division(task.domains, config.scenario, target=run.target, held=run.held, seed=run.seed)
    network = task.network(model, np.concatenate(split.train), run.seed)
    evaluator = _Evaluator(task, split, network.encoder.spec)
    encoder = network.encoder
    # Features can be computed in advance only if windows stay unchanged, and if the encoder is the same in every run:
    # an untrained one depends on the seed.
    reusable = model.encoder is not None and not algorithms.get(run.algorithm).changes_windows
    if reusable and model.train in ("head", "wise"):
        evaluator.features = task.features(model, network)
        network.skip_encoder()
    if model.train == "wise":
        # WiSE-FT: fine-tuning starts from the head of the linear probe; the weights of both are interpolated
        # afterwards.
        network.freeze(True)
        probe, algorithm = _fit(evaluator, run, network, updates)
        if reusable:
            evaluator.features = None
            probe = replace(probe, weights=_with_encoder(algorithm, probe.weights, encoder))
        network.freeze(False)
        tuned, algorithm = _fit(evaluator, run, network, updates, start=probe.weights)
        best: JsonDict = _interpolated(evaluator, algorithm, probe, tuned, model.alphas)
    else:
        tuned, _ = _fit(evaluator, run, network, updates)
        best = {"valid": tuned.valid, "steps": tuned.steps, **tuned.result.stored()}
    return {
        **{k: v for k, v in vars(run).items() if k != "setting"},
        "setting": dict(run.setting),
        **best,
        "curve": tuned.curve,
        **({"checkpoints": tuned.checkpoints} if tuned.checkpoints else {}),
        "classes": list(task.domains.windows.classes),
        "source_windows": int(sum(map(len, split.train))),
        "seconds": round(time.perf_counter() - began, 3),
    }


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    """The best checkpoint of a training on source validation, and the curve of the whole training."""

    valid: float
    steps: int
    result: _TargetResult
    weights: dict[str, torch.Tensor]
    curve: list[list[float]]
    checkpoints: JsonDict


def _fit(
    evaluator: _Evaluator,
    run: Run,
    network: Network,
    updates: int | None,
    *,
    start: dict[str, torch.Tensor] | None = None,
) -> tuple[_Checkpoint, Algorithm]:
    """Train the network by the run's algorithm, from the weights ``start`` or from its current weights."""
    config, model = evaluator.task.config, evaluator.task.models[run.model]
    setting = dict(run.setting)
    training, arguments = apply_setting(config.training, setting)
    adam = AdamSettings(
        lr=training.lr if "lr" in setting or model.lr is None else model.lr,
        weight_decay=training.weight_decay,
        betas=training.betas,
        encoder_factor=model.encoder_factor,
    )
    generator = torch.Generator().manual_seed(run.seed)
    algorithm = algorithms.build({"name": run.algorithm, **arguments})
    best: dict[str, Any] = {"valid": -1.0}
    curve = []
    checkpoints: JsonDict = {}
    every = any(selection_rules.get(rule).every_checkpoint for rule in config.selection)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed + 1)  # for the initial weights of the algorithm's own networks, and for dropout
        algorithm.begin(network, domains=len(evaluator.split.train), adam=adam, generator=generator)
        if start is not None:
            algorithm.restore(start)
        network.rows = training.batch if training.statistics == "per_domain" else None
        total = training.steps if updates is None else updates
        draw = _draws(evaluator.split, training.batch, run.seed)
        algorithm.train()
        for step in range(1, total + 1):
            algorithm.update([evaluator.batch(rows) for rows in draw()])
            if training.evaluates(step, total):
                algorithm.eval()
                # Source validation selects the checkpoint; the target accuracy is only recorded, for the curve.
                valid, result = evaluator.valid(algorithm), evaluator.target(algorithm)
                curve.append([step, round(valid, 6), round(result.accuracy, 6)])
                if every:
                    checkpoints[str(step)] = result.stored()["people"]
                if valid > best["valid"]:  # strictly: of equal checkpoints the first is kept
                    best = {"valid": valid, "steps": step, "result": result, "weights": algorithm.snapshot()}
                algorithm.train()
    return _Checkpoint(**best, curve=curve, checkpoints=checkpoints), algorithm


def _with_encoder(
    algorithm: Algorithm, weights: dict[str, torch.Tensor], encoder: EncoderBundle
) -> dict[str, torch.Tensor]:
    """Weights of a training that skipped a frozen encoder, completed by those of the encoder."""
    # An algorithm may have copies of the network, such as a running average; each of them gets the encoder back.
    algorithm.restore(weights)
    for part in algorithm.modules():
        if isinstance(part, Network):
            part.encoder = encoder
    return algorithm.snapshot()


def _interpolated(
    evaluator: _Evaluator, algorithm: Algorithm, probe: _Checkpoint, tuned: _Checkpoint, alphas: Sequence[float]
) -> JsonDict:
    """Results at every alpha, and the reported ones at the alpha that is selected on source validation."""
    valid, results = [], []
    algorithm.eval()
    for alpha in alphas:
        algorithm.restore(interpolate(probe.weights, tuned.weights, alpha))
        valid.append(evaluator.valid(algorithm))
        results.append(evaluator.target(algorithm))
    chosen = choose_alpha(alphas, valid)
    curve = [[a, round(v, 6), round(t.accuracy, 6)] for a, v, t in zip(alphas, valid, results, strict=True)]
    best = {"valid": valid[chosen], "steps": tuned.steps, **results[chosen].stored()}
    return {**best, "alpha": alphas[chosen], "by_alpha": curve, "probe_steps": probe.steps}


class _Evaluator:
    """Evaluates an algorithm in one run, on the validation windows of the sources and on the target.

    Args:
        task: windows.
        split: their division.
        spec: input specification of the network's encoder.
    """

    def __init__(self, task: Task, split: Division, spec: InputSpec) -> None:
        self.task, self.split, self.spec = task, split, spec
        self.features: torch.Tensor | None = None

    def batch(self, rows: np.ndarray) -> DomainBatch:
        """Windows of rows, or their features if they were computed in advance."""
        if self.features is not None:
            at = torch.from_numpy(rows)
            values = self.features[at]
            return DomainBatch(imu=values, mask=torch.ones_like(values, dtype=torch.bool), label=self.task.labels[at])
        return self.task.batch(rows, self.spec)

    def valid(self, algorithm: Algorithm) -> float:
        """Mean over the source domains of the accuracy on their validation windows."""
        # Every domain has the same weight, because domains may differ widely in their number of windows.
        labels = self.task.domains.windows.labels
        own = [(self._scores(algorithm, r).argmax(axis=1) == labels[r]).mean() for r in self.split.valid if len(r)]
        return float(np.mean(own))

    def target(self, algorithm: Algorithm) -> _TargetResult:
        """Confusion counts and reliability bins of each subject in the target."""
        windows, rows = self.task.domains.windows, self.split.query
        scores, truth, m = self._scores(algorithm, rows), windows.labels[rows], len(windows.classes)
        predicted = scores.argmax(axis=1)
        confidence = None if algorithm.confidence is None else _confidence(scores, algorithm.confidence)
        own = {str(s): windows.subject[rows] == s for s in np.unique(windows.subject[rows])}
        return _TargetResult(
            people={s: confusion_counts(truth[o], predicted[o], classes=m) for s, o in own.items()},
            bins=None
            if confidence is None
            else {s: reliability_bins(confidence[o], (predicted == truth)[o]) for s, o in own.items()},
        )

    @torch.inference_mode()
    def _scores(self, algorithm: Algorithm, rows: np.ndarray) -> np.ndarray:
        out = []
        for first in range(0, len(rows), _EVAL_BATCH):
            part = self.batch(rows[first : first + _EVAL_BATCH])
            out.append(algorithm.predict(part.imu, part.mask).numpy())
        return np.concatenate(out)


def _confidence(scores: np.ndarray, how: Confidence) -> np.ndarray:
    """Confidence of each prediction; 1 / M where scores are not finite."""
    # A diverged training is a valid result of a setting: its predictions count, with the confidence of chance.
    with np.errstate(invalid="ignore"):
        found = confidence_of(scores, how)
    return np.where(np.isfinite(found), found, 1 / scores.shape[1])


@dataclass(frozen=True, kw_only=True)
class _TargetResult:
    """Confusion counts (M, M), true by predicted, and reliability bins (B, 3) of each subject in the target."""

    people: dict[str, np.ndarray]
    bins: dict[str, np.ndarray] | None

    @property
    def accuracy(self) -> float:
        counts = np.sum(list(self.people.values()), axis=0)
        return float(np.trace(counts) / counts.sum())

    def stored(self) -> JsonDict:
        """The result as it is stored in the file of a run."""
        out: JsonDict = {"people": {s: counts.tolist() for s, counts in self.people.items()}}
        return out if self.bins is None else {**out, "bins": {s: b.round(6).tolist() for s, b in self.bins.items()}}


def _draws(split: Division, batch: int, seed: int) -> Callable[[], list[np.ndarray]]:
    """A function that draws rows of every source domain, with replacement."""
    # A generator of its own: all algorithms with one seed train on the same batches, whatever else they draw.
    rng = np.random.default_rng([seed, 7])
    return lambda: [rows[rng.integers(len(rows), size=batch)] for rows in split.train]


def estimate(task: Task, todo: Sequence[Run], *, updates: int = 6) -> float:
    """Estimated seconds of runs in one process, from a few updates of one run per model and algorithm."""
    seconds: dict[tuple[str, str], float] = {}
    for run in todo:
        kind = (run.model, run.algorithm)
        if kind not in seconds:
            train(task, run, updates=1)  # warm-up
            one = _timed(lambda run=run: train(task, run, updates=1))  # type: ignore[misc]
            more = _timed(lambda run=run: train(task, run, updates=1 + updates))  # type: ignore[misc]
            # The difference removes the fixed cost of a run: the division, the network and one evaluation.
            each = max(more - one, 1e-4) / updates
            evaluations = task.config.training.steps / task.config.training.evaluate_every
            seconds[kind] = task.config.training.steps * each + evaluations * one
    return sum(seconds[run.model, run.algorithm] for run in todo)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
