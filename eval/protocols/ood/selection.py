"""Selection rules: which setting of a grid is reported, from finished runs alone.

The checkpoint of a run is always chosen on source validation (train.py); rules choose among settings of
hyper-parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Outcome:
        """From the file of a finished run."""
        people = {subject: np.array(counts) for subject, counts in result["people"].items()}
        total = np.sum(list(people.values()), axis=0)
        return cls(
            **{k: result[k] for k in ("model", "algorithm", "target", "held", "seed", "valid")},
            setting=as_pairs(result["setting"]),
            score=float(np.trace(total) / total.sum()),
            people=people,
            bins={s: np.array(b) for s, b in result["bins"].items()} if "bins" in result else None,
            by_alpha=np.array(result["by_alpha"]) if "by_alpha" in result else None,
            alpha=result.get("alpha"),
        )


class SelectionRule(ABC):
    """A rule that scores the settings of a grid; the setting with the largest score is reported.

    Attributes:
        leaves_out: whether the rule needs runs in which a source domain is left out.
        upper_bound: whether the rule uses target labels; its figures are then an upper bound, not a result.
    """

    leaves_out: ClassVar[bool] = False
    upper_bound: ClassVar[bool] = False

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


def choose(outcomes: Sequence[Outcome], rule: str) -> list[Outcome]:
    """The runs of the best setting of one model, algorithm and target, one per seed.

    Ties go to the setting that sorts first.

    Args:
        outcomes: all runs of one model, algorithm and target, every setting with the same seeds.
        rule: name of a registered selection rule.

    Raises:
        DataError: settings with different seeds, or no runs with a left-out domain for a rule that needs them.
    """
    whole = [o for o in outcomes if o.held is None]
    # Sorted as text, because values of different types have no order.
    settings = sorted({o.setting for o in whole}, key=str)
    seeds = {setting: sorted(o.seed for o in whole if o.setting == setting) for setting in settings}
    if not settings or len({tuple(s) for s in seeds.values()}) != 1:
        raise DataError(
            f"settings were run with different seeds: { {str(dict(k)): v for k, v in seeds.items()} }",
            hint="finish the runs: repeat the same `imu-eval ood` command, finished runs are kept",
        )
    best = settings[0]
    if len(settings) > 1:
        own = {setting: [o for o in outcomes if o.setting == setting] for setting in settings}
        scores = {setting: selection_rules.build(rule).scores(runs) for setting, runs in own.items()}
        if not all(scores.values()):
            raise DataError(
                f"selection rule {rule!r}: no runs with a left-out source domain",
                hint=f"list {rule} under `selection` before the runs are made",
            )
        best = max(settings, key=lambda setting: float(np.mean(scores[setting])))
    return sorted((o for o in whole if o.setting == best), key=lambda o: o.seed)


def overall(by_target: Mapping[str, Sequence[Outcome]]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0, as published) over seeds of the mean score over targets."""
    per_seed = np.mean([[o.score for o in chosen] for chosen in by_target.values()], axis=0)
    return float(per_seed.mean()), float(per_seed.std())
