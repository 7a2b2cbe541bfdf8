"""Selection rules: which setting of a grid is reported, from finished runs alone.

The checkpoint of a run is always chosen on source validation (train.py); rules choose among settings of
hyper-parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from eval import registry
from eval.protocols.ood.settings import as_pairs
from imu_video.errors import DataError
from imu_video.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run as selection rules use it.

    Args:
        model, algorithm, setting, target, held, seed: the run (see `eval.protocols.ood.runs.Run`).
        valid: source validation accuracy at the chosen checkpoint.
        score: accuracy in the target (or left-out) domain at that checkpoint.
        people: subject -> (M, M) confusion counts there.
        bins: subject -> (B, 3) reliability bins; None where scores are not probabilities.
        by_alpha: (A, 3) alpha, source validation and target accuracy, for a model with ``train: wise``.
        alpha: the chosen one.
        checkpoints: step -> subject -> (M, M) counts at every evaluation, where they were stored.
    """

    model: str
    algorithm: str
    setting: tuple[tuple[str, Any], ...]
    target: str
    held: str | None
    seed: int
    valid: float
    score: float
    people: Mapping[str, np.ndarray]
    bins: Mapping[str, np.ndarray] | None = None
    by_alpha: np.ndarray | None = None
    alpha: float | None = None
    checkpoints: Mapping[int, Mapping[str, np.ndarray]] | None = None

    def at(self, step: int) -> Outcome:
        """The same run at another checkpoint; its calibration is not stored."""
        assert self.checkpoints is not None
        people = self.checkpoints[step]
        return replace(self, people=people, score=accuracy_of(people), bins=None)

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Outcome:
        """From the file of a finished run."""
        people = {subject: np.array(counts) for subject, counts in result["people"].items()}
        return cls(
            **{k: result[k] for k in ("model", "algorithm", "target", "held", "seed", "valid")},
            setting=as_pairs(result["setting"]),
            score=accuracy_of(people),
            people=people,
            bins={s: np.array(b) for s, b in result["bins"].items()} if "bins" in result else None,
            by_alpha=np.array(result["by_alpha"]) if "by_alpha" in result else None,
            alpha=result.get("alpha"),
            checkpoints=None
            if "checkpoints" not in result
            else {int(k): {s: np.array(c) for s, c in v.items()} for k, v in result["checkpoints"].items()},
        )


def accuracy_of(people: Mapping[str, np.ndarray]) -> float:
    """Accuracy over the windows of all subjects."""
    total = np.sum(list(people.values()), axis=0)
    return float(np.trace(total) / total.sum())


class SelectionRule(ABC):
    """A rule that scores the settings of a grid; the setting with the largest score is reported.

    Attributes:
        leaves_out: whether the rule needs runs in which a source domain is left out.
        upper_bound: whether the rule uses target labels; its figures are then an upper bound, not a result.
        every_checkpoint: whether the rule selects a checkpoint as well, among those of `steps`; each run then stores
            the counts of all its checkpoints.
    """

    leaves_out: ClassVar[bool] = False
    upper_bound: ClassVar[bool] = False
    every_checkpoint: ClassVar[bool] = False

    def steps(self, known: Sequence[int]) -> list[int]:
        """Checkpoints among which a rule with ``every_checkpoint`` selects; by default all.

        Args:
            known: steps of the checkpoints that all runs of a setting have, increasing.
        """
        return list(known)

    @abstractmethod
    def scores(self, outcomes: Sequence[Outcome]) -> list[float]:
        """Scores of the runs of one setting; their mean is the score of the setting.

        Args:
            outcomes: all runs of the setting, those with a left-out source domain included.
        """


selection_rules: Registry[SelectionRule] = registry.selection_rules
"""Selection rules by name."""


@selection_rules.register("source")
class SourceValidation(SelectionRule):
    """Source validation accuracy: training-domain validation (Gulrajani and Lopez-Paz 2021, arXiv 2007.01434)."""

    def scores(self, outcomes: Sequence[Outcome]) -> list[float]:
        return [o.valid for o in outcomes if o.held is None]


@selection_rules.register("oracle")
class Oracle(SelectionRule):
    """Target accuracy: an upper bound, never a result."""

    upper_bound = True

    def scores(self, outcomes: Sequence[Outcome]) -> list[float]:
        return [o.score for o in outcomes if o.held is None]


@selection_rules.register("lodo")
class LeaveOneDomainOut(SelectionRule):
    """Accuracy on each source domain when it is left out of training, averaged over domains and seeds."""

    leaves_out = True

    def scores(self, outcomes: Sequence[Outcome]) -> list[float]:
        return [o.score for o in outcomes if o.held is not None]


@selection_rules.register("oracle_last")
class OracleLast(Oracle):
    """Target accuracy of the last checkpoint, as in DomainBed: an upper bound without early stopping."""

    every_checkpoint = True

    def steps(self, known: Sequence[int]) -> list[int]:
        return list(known[-1:])


@selection_rules.register("lodo_step")
class LeaveOneDomainOutStep(LeaveOneDomainOut):
    """Setting and checkpoint by the accuracy on left-out source domains at it, as in the code of DomainBed."""

    every_checkpoint = True


def choose(outcomes: Sequence[Outcome], rule: str, *, per_seed: bool = False) -> list[Outcome]:
    """The runs of the best setting of one model, algorithm and target, one per seed.

    Ties go to the setting that sorts first, and to the earliest checkpoint.

    Args:
        outcomes: all runs of one model, algorithm and target, every setting with the same seeds.
        rule: name of a registered selection rule.
        per_seed: select in every seed separately.

    Raises:
        DataError: settings with different seeds, or no runs with a left-out domain for a rule that needs them.
    """
    if per_seed:
        seeds_of = sorted({o.seed for o in outcomes})
        return [choose([o for o in outcomes if o.seed == seed], rule)[0] for seed in seeds_of]
    whole = [o for o in outcomes if o.held is None]
    # Sorted as text, because values of different types have no order.
    settings = sorted({o.setting for o in whole}, key=str)
    seeds = {setting: sorted(o.seed for o in whole if o.setting == setting) for setting in settings}
    if not settings or len({tuple(s) for s in seeds.values()}) != 1:
        raise DataError(
            f"settings were run with different seeds: { {str(dict(k)): v for k, v in seeds.items()} }",
            hint="finish the runs: repeat the same `imu-eval ood` command, finished runs are kept",
        )
    own: dict[Any, list[Outcome]] = {s: [o for o in outcomes if o.setting == s] for s in settings}
    selector = selection_rules.build(rule)
    if selector.every_checkpoint:
        own = _at_checkpoints(own, rule, selector)
    best = next(iter(own))
    if len(own) > 1:
        scores = {candidate: selector.scores(runs) for candidate, runs in own.items()}
        if not all(scores.values()):
            raise DataError(
                f"selection rule {rule!r}: no runs with a left-out source domain",
                hint=f"list {rule} under `selection` before the runs are made",
            )
        best = max(own, key=lambda candidate: float(np.mean(scores[candidate])))
    return sorted((o for o in own[best] if o.held is None), key=lambda o: o.seed)


def _at_checkpoints(
    own: Mapping[Any, Sequence[Outcome]], rule: str, selector: SelectionRule
) -> dict[Any, list[Outcome]]:
    """(setting, step) -> the runs of the setting at that checkpoint, steps increasing within a setting."""
    out: dict[Any, list[Outcome]] = {}
    for setting, runs in own.items():
        stored = [set(o.checkpoints) for o in runs if o.checkpoints is not None]
        if len(stored) < len(runs):
            raise DataError(
                f"selection rule {rule!r}: finished runs lack the counts of their checkpoints",
                hint=f"list {rule} under `selection` before the runs are made, in a new --folder",
            )
        for step in selector.steps(sorted(set.intersection(*stored))):
            out[setting, step] = [o.at(step) for o in runs]
    return out


def overall(by_target: Mapping[str, Sequence[Outcome]]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0, as published) over seeds of the mean score over targets."""
    per_seed = np.mean([[o.score for o in chosen] for chosen in by_target.values()], axis=0)
    return float(per_seed.mean()), float(per_seed.std())
