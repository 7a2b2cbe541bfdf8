"""One run: an algorithm trains a network on source domains and is asked in the target; scenario.py divides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.algorithms import Algorithm, DomainBatch, Network, algorithms
from eval.ood.config import Model, OodConfig, Run
from eval.ood.scenario import Division, Domains, division
from eval.supervised import at_spec_rate
from imu_video.hub import EncoderBundle, load_encoder
from imu_video.input_spec import InputSpec, fit_input_spec
from imu_video.types import JsonDict

_EVAL_BATCH = 512


class Task:
    """The windows of a scenario as tensors, shared by every run of a process.

    Args:
        domains: from `eval.ood.scenario.divide`.
        config: of the benchmark.
    """

    def __init__(self, domains: Domains, config: OodConfig) -> None:
        self.domains, self.config = domains, config
        self.models = {model.name: model for model in config.models}
        self.labels = torch.from_numpy(domains.windows.labels)
        self._at_rate = lru_cache(maxsize=4)(self._windows)

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
        (subject -> (M, M) confusion counts in the target at that checkpoint), the ``curve`` of (step, valid, target
        accuracy), and ``seconds``.

    Raises:
        ConfigError, LeakageError: a division that is impossible or not allowed.
    """
    began = time.perf_counter()
    config, model = task.config, task.models[run.model]
    split = division(task.domains, config.scenario, target=run.target, held=run.held, seed=run.seed)
    setting = dict(run.setting)
    lr = setting.pop("lr", model.lr)
    network = task.network(model, np.concatenate(split.train), run.seed)
    rate = network.encoder.spec.rate_hz
    generator = torch.Generator().manual_seed(run.seed)
    algorithm = algorithms.build({"name": run.algorithm, **setting})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed + 1)  # initial weights of what the algorithm adds, and dropout
        algorithm.begin(network, domains=len(split.train), adam=config.training.adam(lr), generator=generator)
        best: dict[str, Any] = {"valid": -1.0}
        curve = []
        total = config.training.steps if updates is None else updates
        draw = _draws(split, config.training.batch, run.seed)
        algorithm.train()
        for step in range(1, total + 1):
            algorithm.update([task.batch(rows, rate) for rows in draw()])
            if step % config.training.evaluate_every == 0 or step == total:
                algorithm.eval()
                valid = float(np.mean([_accuracy(algorithm, task, rows, rate) for rows in split.valid if len(rows)]))
                people = _people(algorithm, task, split.query, rate)
                counts = np.sum(list(people.values()), axis=0)
                curve.append([step, round(valid, 6), round(float(np.trace(counts) / counts.sum()), 6)])
                if valid > best["valid"]:
                    best = {"valid": valid, "steps": step, "people": {s: c.tolist() for s, c in people.items()}}
                algorithm.train()
    return {
        **{k: v for k, v in vars(run).items() if k != "setting"},
        "setting": dict(run.setting),
        **best,
        "curve": curve,
        "classes": list(task.domains.windows.classes),
        "source_windows": int(sum(map(len, split.train))),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _draws(split: Division, batch: int, seed: int) -> Callable[[], list[np.ndarray]]:
    """A function that draws rows of every source domain, with replacement."""
    rng = np.random.default_rng([seed, 7])
    return lambda: [rows[rng.integers(len(rows), size=batch)] for rows in split.train]


@torch.inference_mode()
def _predict(algorithm: Algorithm, task: Task, rows: np.ndarray, rate: float) -> np.ndarray:
    out = []
    for first in range(0, len(rows), _EVAL_BATCH):
        part = task.batch(rows[first : first + _EVAL_BATCH], rate)
        out.append(algorithm.predict(part.imu, part.mask).argmax(dim=1).numpy())
    return np.concatenate(out)


def _accuracy(algorithm: Algorithm, task: Task, rows: np.ndarray, rate: float) -> float:
    return float((_predict(algorithm, task, rows, rate) == task.domains.windows.labels[rows]).mean())


def _people(algorithm: Algorithm, task: Task, rows: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Confusion counts of each person of the target: subject -> (M, M), true by predicted."""
    windows = task.domains.windows
    predicted, truth, m = _predict(algorithm, task, rows, rate), windows.labels[rows], len(windows.classes)
    subjects = windows.subject[rows]
    return {
        str(s): np.bincount(truth[subjects == s] * m + predicted[subjects == s], minlength=m * m).reshape(m, m)
        for s in np.unique(subjects)
    }


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
