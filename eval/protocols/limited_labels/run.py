"""Computes the cells of a limited-label run and gathers them over seeds; identities of cells are plan.py's.

Pool, validation and test subjects are fixed by the config and disjoint; the number of labels and the seed vary.
Few-shot episodes, which redraw the subjects, are another protocol.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from eval.data.features import untrained_twin
from eval.finetune.joint import HEADS, JointNetwork, copied_tower, untrained_tower
from eval.finetune.network import Network
from eval.finetune.spread import soft_labels
from eval.probes import probes
from eval.protocols.limited_labels.config import Method, Number
from eval.protocols.limited_labels.inputs import copied
from eval.protocols.limited_labels.plan import Cell, Plan
from eval.protocols.limited_labels.train import train_members
from eval.results.cells import CellStore
from imu_video.config import digest
from imu_video.errors import ConfigError

logger = logging.getLogger(__name__)

REPORT_EVERY = 10
"""Cells between two estimates of the remaining time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Counts of one method with one number of labels, over the seeds.

    Args:
        model: the encoder's name; ``none`` where no pretrained weights enter.
        method, number: the method and its labelled windows per class.
        weights: digest of the weights that enter, or of the architecture.
        pretrained: whether weights of the encoder under test, or of the encoder exported beside it, enter.
        counts: (R, S, M, M): seed, subject, true class, predicted class; at the last step, or at alpha 0.5 with
            ``learn: wise``.
        chosen: the same at the step (alpha) that was best on the validation subjects; None without them.
        bins: (R, S, B, 3) reliability bins of the same predictions as ``counts``; None where scores are not
            probabilities.
        curve: figures at every alpha, with ``learn: wise``.
    """

    model: str
    method: Method
    number: Number
    weights: str
    pretrained: bool
    counts: np.ndarray
    chosen: np.ndarray | None = None
    bins: np.ndarray | None = None
    curve: Curve | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Figures between a linear probe and the fine-tuned network.

    Args:
        alphas: (A,), from 0 to 1.
        counts: (R, A, S, M, M) as in `Cells`.
        on_choose: (R, A) accuracy on the validation subjects; None without them.
        chosen: (R,) the alphas chosen there.
    """

    alphas: np.ndarray
    counts: np.ndarray
    on_choose: np.ndarray | None
    chosen: np.ndarray | None

    @classmethod
    def of(cls, held: Sequence[Mapping[str, np.ndarray]]) -> Curve:
        """From the cells of all seeds."""
        on_choose, chosen = _stacked(held, "on_choose"), _stacked(held, "alpha")
        counts = np.stack([h["by_alpha"] for h in held])
        return cls(alphas=held[0]["alphas"], counts=counts, on_choose=on_choose, chosen=chosen)


def _stacked(held: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray | None:
    """An array of every seed; None where a seed has none."""
    return np.stack([h[name] for h in held]) if all(name in h for h in held) else None


class LabelsRun:
    """Computes the cells of one model that a store does not hold yet.

    Args:
        plan: the cells.
        store: finished cells; an interrupted run resumes from it.
    """

    def __init__(self, plan: Plan, *, store: CellStore) -> None:
        self.plan, self.store = plan, store
        self.config, self.features, self.groups = plan.config, plan.features, plan.features.groups

    def run(self) -> list[Cells]:
        """All cells; their cost is reported before the first training."""
        cells = self.plan.cells
        missing = [cell for cell in cells if not self.store.has(self.plan.key(cell))]
        # Methods that differ only in the head of one joint training share a cell.
        todo = list({digest(self.plan.key(cell)): cell for cell in missing}.values())
        trainings = [cell for cell in todo if cell.method.trains]
        steps = sum(map(self.plan.steps, trainings))
        logger.info(
            f"{self.features.model}: {len(cells)} cells, {len(cells) - len(missing)} finished, {len(trainings)} "
            f"trainings of {steps} steps in total to do"
        )
        seconds: list[float] = []
        for done, cell in enumerate(todo, start=1):
            began = time.monotonic()
            # Another process with the same store may have finished the cell meanwhile.
            if not self.store.has(self.plan.key(cell)):
                self.store.put(self.plan.key(cell), self._compute(cell))
            if cell.method.trains:
                seconds.append(time.monotonic() - began)
                if len(seconds) == 1 or done % REPORT_EVERY == 0:
                    minutes = (len(trainings) - len(seconds)) * float(np.mean(seconds)) / 60
                    logger.info(f"  {len(todo) - done} cells to do, about {minutes:.1f} min")
        return [self._gather(method, number) for method in self.config.methods for number in self.config.labels]

    def _gather(self, method: Method, number: Number) -> Cells:
        places = range(len(self.config.seeds))
        held = [self.store.get(self.plan.key(Cell(method, number, place))) for place in places]
        head = f" {method.inputs}" if method.along else ""
        weights = [self.plan.weights(method, place) for place in places]
        pretrained = self.plan.pretrained(method)
        return Cells(
            model=self.features.model if pretrained else "none",
            pretrained=pretrained,
            method=method,
            number=number,
            weights=weights[0] if len(set(weights)) == 1 else digest({"weights": weights}),
            counts=np.stack([h[f"counts{head}"] for h in held]),
            chosen=_stacked(held, f"chosen{head}"),
            bins=_stacked(held, f"bins{head}"),
            curve=None if method.learn != "wise" else Curve.of(held),
        )

    def _compute(self, cell: Cell) -> dict[str, np.ndarray]:
        targets, rows = self._targets(cell)
        fit = self._train if cell.method.trains else self._probe
        return fit(cell.method, targets, rows, cell.place)

    def _targets(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """Soft labels (n, M) and the places in the pool that they belong to."""
        groups, (method, number, place) = self.groups, cell
        labelled = groups.labelled(number, self.config.seeds[place])
        truth = groups.truth(groups.pool)
        classes = len(groups.classes)
        if method.spread is None or len(labelled) == len(groups.pool):
            return np.eye(classes)[truth[labelled]], labelled
        known = np.full(len(groups.pool), -1)
        known[labelled] = truth[labelled]
        features = self.features.of(method, method.spread.inputs, place)[groups.pool]
        return soft_labels(features, known, method.spread, classes=classes), np.arange(len(groups.pool))

    def _probe(self, method: Method, targets: np.ndarray, rows: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """Counts of the probe on frozen features."""
        groups = self.groups
        features = self.features.of(method, method.inputs, place)
        support, query = features[groups.pool[rows]], features[groups.test]
        probe = probes.build(self.config.probe)
        with threadpool_limits(1):
            if method.spread is None or np.array_equal(targets, targets.round()):
                fitted = probe.fit(support, targets.argmax(axis=1), classes=targets.shape[1])
            elif hasattr(probe, "fit_targets"):
                fitted = probe.fit_targets(support, targets)
            else:
                raise ConfigError(
                    f"method {method.name!r}: probe {self.config.probe} has no fit_targets for soft labels",
                    hint="probe=logreg",
                )
        scores, how = fitted.scores(query), getattr(probe, "confidence", None)
        out = {"counts": groups.counts(np.asarray(scores.argmax(axis=1)))}
        return out if how is None else {**out, "bins": groups.bins(scores, how)}

    def _train(self, method: Method, targets: np.ndarray, rows: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """Counts of an ensemble of trained networks."""
        (linear, tuned), bundle, classes = self.plan.schedules(method), self.features.bundle(place), targets.shape[1]
        config = tuned or linear
        assert config is not None
        imu, mask = self.features.imu(bundle)
        side = self.features.joint_side(method, place) if method.along else None
        extra = None if side is None else side.inputs
        if side is None and method.inputs == "fused":
            extra = self.features.video(method, place)

        options: dict[str, Any] = {"norm": config.norm, "precision": config.precision}

        def make(seed: int) -> Network:
            fresh = method.start == "random"
            started = untrained_twin(bundle, seed) if fresh else copied(bundle)
            if side is not None and side.tower is not None:
                tower = untrained_tower(side.tower) if fresh else copied_tower(side.tower)
                return JointNetwork(bundle=started, tower=tower, classes=classes, **options)
            width = 0 if extra is None else extra.shape[1]
            return Network(bundle=started, classes=classes, extra=width, **options)

        return train_members(
            make,
            self.groups,
            imu,
            mask,
            targets=targets,
            rows=rows,
            linear=linear,
            tuned=tuned,
            alphas=self.config.alphas,
            seed=self.config.seeds[place],
            choose=self.groups.validation(self.config.choose_per_class, self.config.seeds[place]),
            checks=self.config.checks,
            extra=extra,
            names=[f" {head}" for head in HEADS] if method.along else [""],
        )
