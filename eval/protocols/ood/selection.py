"""Which setting of a grid is reported: by source validation, a left-out source domain, or the target (a bound).

Pure functions of finished runs. The checkpoint of a run is always chosen on source validation (train.py); what is
chosen here is the setting of hyper-parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from imu_video.errors import DataError

Rule = Literal["source", "oracle", "lodo"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What selection sees of a finished run.

    Args:
        model, algorithm, setting, target, held, seed: the run (see `eval.protocols.ood.config.Run`).
        valid: source validation accuracy at the chosen checkpoint.
        score: accuracy in the asked domain at that checkpoint.
        people: subject -> (M, M) confusion counts there.
        bins: subject -> (B, 3) reliability bins; None where scores are no probabilities, or none were kept.
        by_alpha: (A, 3) alpha, source validation and target accuracy, of a model with ``train: wise``.
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
        """From a finished run's file."""
        people = {subject: np.array(counts) for subject, counts in result["people"].items()}
        total = np.sum(list(people.values()), axis=0)
        return cls(
            **{k: result[k] for k in ("model", "algorithm", "target", "held", "seed", "valid")},
            setting=tuple(sorted(result["setting"].items())),
            score=float(np.trace(total) / total.sum()),
            people=people,
            bins={s: np.array(b) for s, b in result["bins"].items()} if "bins" in result else None,
            by_alpha=np.array(result["by_alpha"]) if "by_alpha" in result else None,
            alpha=result.get("alpha"),
        )


def choose(outcomes: Sequence[Outcome], rule: Rule) -> list[Outcome]:
    """The runs of the best setting of one model, algorithm and target, one a seed.

    ``source``: the largest mean over seeds of the source validation accuracy. ``oracle``: of the target accuracy.
    ``lodo``: of the accuracy in each source domain when it was left out of training, averaged over domains and seeds.
    Ties go to the setting that sorts first.

    Args:
        outcomes: all runs of one model, algorithm and target, every setting with the same seeds.
        rule: what to maximise.

    Raises:
        DataError: settings with different seeds, or no runs with a left-out domain for ``lodo``.
    """
    whole = [o for o in outcomes if o.held is None]
    settings = sorted({o.setting for o in whole}, key=str)
    seeds = {setting: sorted(o.seed for o in whole if o.setting == setting) for setting in settings}
    if not settings or len({tuple(s) for s in seeds.values()}) != 1:
        raise DataError(
            f"settings were run with different seeds: { {str(dict(k)): v for k, v in seeds.items()} }",
            hint="finish the runs: the same `imu-eval ood` command goes on where it was",
        )
    value: Callable[[tuple[tuple[str, Any], ...]], float]
    if rule == "lodo" and len(settings) > 1:
        left = [o for o in outcomes if o.held is not None]
        if not left:
            raise DataError("no runs with a left-out source domain", hint="selection must list lodo when runs are made")
        value = lambda s: float(np.mean([o.score for o in left if o.setting == s]))  # noqa: E731
    elif rule == "oracle":
        value = lambda s: float(np.mean([o.score for o in whole if o.setting == s]))  # noqa: E731
    else:
        value = lambda s: float(np.mean([o.valid for o in whole if o.setting == s]))  # noqa: E731
    best = max(settings, key=value)
    return sorted((o for o in whole if o.setting == best), key=lambda o: o.seed)


def overall(by_target: Mapping[str, Sequence[Outcome]]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0, as published) over seeds of the mean score over targets."""
    per_seed = np.mean([[o.score for o in chosen] for chosen in by_target.values()], axis=0)
    return float(per_seed.mean()), float(per_seed.std())
