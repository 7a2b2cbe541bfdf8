"""Coverage and error rates of the intervals and tests that results use; see README.md beside this file."""

from __future__ import annotations

import csv
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the modules of this study

from imu_video.errors import ConfigError
from imu_video.metrics.coverage import HIGH, LOW
from imu_video.metrics.inference import Estimate, estimate, tail
from imu_video.metrics.significance import holm
from imu_video.runtime import console
from imu_video.runtime.files import write_atomic
from studies.inference.many import Parts

app = typer.Typer(add_completion=False, no_args_is_help=True)

SUBJECTS, SEEDS, FOLDS = (4, 6, 8, 12, 15, 20, 30), (1, 2, 3, 5, 10), (3, 5, 10)
COLUMNS = ("kind", "case", "subjects", "seeds", "studies", "covered", "verdict", "in table")
FEW_SHOT_SEEDS = (1,)
EPISODES, WINDOWS = 30, 60
"""Episodes of a few-shot study, and windows behind a fraction."""


Draw = Callable[[np.random.Generator, int, int, int], np.ndarray]
"""Cells (n, P, R, S) of n studies from a generator, n, a number of subjects and a number of seeds (or folds)."""


@dataclass(frozen=True)
class Case:
    """A kind of data without few-shot episodes.

    Args:
        kind: of `imu_video.metrics.coverage.kind_of`.
        name: of the distribution.
        draw: studies.
        truth: true value; fractions have one above 0.
        table: whether its coverage enters the table of the package. Cases that no study can tell from its own data
            are left out: they would mark every result.
        least: smallest number of seeds for which the case is simulated.
    """

    kind: str
    name: str
    draw: Draw
    truth: float = 0.0
    table: bool = True
    least: int = 1

    def folds(self, subjects: int, number: int) -> np.ndarray | None:
        """The fold of each subject."""
        return np.arange(subjects) % number if self.kind == FOLDED else None


def _difference(shape: Callable[[np.random.Generator, tuple[int, int]], np.ndarray], *, seed: float = 0.0) -> Draw:
    """Differences with standard deviation 0.1 over subjects, noise 0.05 per cell, and an effect of every seed."""

    def draw(rng: np.random.Generator, n: int, s: int, r: int) -> np.ndarray:
        own = 0.1 * shape(rng, (n, s))[:, None] + 0.05 * rng.normal(size=(n, r, s))
        return np.asarray(own + seed * rng.normal(size=(n, r, 1)))[:, None]

    return draw


def _fraction(a: float) -> Draw:
    """Shares of correct windows, whose probability is Beta(a, 1) over subjects."""

    def draw(rng: np.random.Generator, n: int, s: int, r: int) -> np.ndarray:
        return rng.binomial(WINDOWS, rng.beta(a, 1, (n, 1, 1, s)), size=(n, 1, r, s)) / WINDOWS

    return draw


def _folds(train: float, run: float, repeats: int) -> Draw:
    """Differences of subjects in folds; training sets are all other folds, and every run has an effect of its own.

    Args:
        train: standard deviation of a training subject's effect over that of subjects; a model has their mean.
        run: standard deviation of the effect of a run over that of subjects.
        repeats: seeds per fold.
    """

    def draw(rng: np.random.Generator, n: int, s: int, k: int) -> np.ndarray:
        fold = np.arange(s) % k
        uses = np.stack([(fold != f) / (fold != f).sum() for f in range(k)])
        training = rng.normal(size=(n, s)) @ uses.T
        effects = train * training[:, None] + run * rng.normal(size=(n, repeats, k))
        cells = 0.1 * (rng.normal(size=(n, 1, s)) + effects[..., fold]) + 0.05 * rng.normal(size=(n, repeats, s))
        return np.asarray(cells)[:, None]

    return draw


def _pretraining(seed: float) -> Draw:
    """Encoders of several pretraining seeds minus a reference with three seeds of its own."""

    def draw(rng: np.random.Generator, n: int, s: int, p: int) -> np.ndarray:
        ours = seed * rng.normal(size=(n, p, 1, 1)) + 0.05 * rng.normal(size=(n, p, 1, s))
        other = 0.03 * rng.normal(size=(n, 1, 3, 1)) + 0.05 * rng.normal(size=(n, 1, 3, s))
        return np.asarray(0.1 * rng.normal(size=(n, 1, 1, s)) + ours - other)

    return draw


def _same(rng: np.random.Generator, n: int, s: int, r: int) -> np.ndarray:
    """A method against itself with other seeds: an effect of every seed, none of subjects, and noise."""
    return np.asarray(0.02 * rng.normal(size=(n, 1, r, 1)) + 0.03 * rng.normal(size=(n, 1, r, s)))


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def _unequal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Every third subject has three times the deviation of the others."""
    return np.asarray(rng.normal(size=shape) * np.where(np.arange(shape[1]) % 3 == 0, 3.0, 1.0))


DIFFERENCES, FOLDED, BOTH = "differences", "folds", "seeds and pretraining seeds"
CASES = (
    Case(DIFFERENCES, "normal", _difference(_normal)),
    Case(DIFFERENCES, "t3 tails", _difference(lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3))),
    Case(DIFFERENCES, "unequal subjects", _difference(_unequal)),
    # With one seed these carry the remark that seeds are not included.
    Case(DIFFERENCES, "seeds vary by a third", _difference(_normal, seed=0.03), least=2),
    Case(DIFFERENCES, "seeds vary as subjects", _difference(_normal, seed=0.1), least=2),
    Case(
        DIFFERENCES,
        "skewed (exponential)",
        _difference(lambda rng, shape: 1 - rng.exponential(size=shape)),
        table=False,
    ),
    Case(DIFFERENCES, "same method, other seeds", _same, table=False, least=2),
    Case("fractions", "mean 0.86", _fraction(6), truth=6 / 7),
    Case("near the ceiling", "mean 0.95", _fraction(20), truth=20 / 21),
    Case(FOLDED, "subjects only", _folds(0, 0, 1)),
    Case(FOLDED, "runs vary by a third", _folds(0, 0.3, 1)),
    Case(FOLDED, "runs vary as subjects", _folds(0, 1, 1)),
    Case(FOLDED, "training subjects by half", _folds(0.5, 0.3, 1)),
    Case(FOLDED, "training subjects by half, three seeds", _folds(0.5, 0.3, 3)),
    Case(FOLDED, "training subjects as test subjects", _folds(1, 0, 1), table=False),
    Case(BOTH, "pretraining varies by a third", _pretraining(0.03), least=2),
    Case(BOTH, "pretraining varies as subjects", _pretraining(0.1), least=2),
)


@dataclass(frozen=True)
class FewShot:
    """Few-shot episodes whose support is a third of the subjects, with several encoders.

    Args:
        kind, name: as of `Case`.
        quality: standard deviation of a subject as support over that as query, 0.1.
        centre: None for differences; for fractions the logit about which they vary, with five times the deviations.
    """

    kind: str
    name: str
    quality: float
    centre: float | None = None
    table: bool = True

    def truth(self, subjects: int) -> float:
        """True value: 0, or the mean of a logistic function of a normal variable by Gauss and Hermite's quadrature."""
        if self.centre is None:
            return 0.0
        deviation = 5 * math.sqrt(0.01 + (0.1 * self.quality) ** 2 / (subjects // 3) + 0.05**2 + 0.01)
        x, w = np.polynomial.hermite_e.hermegauss(60)
        return float((w / w.sum() / (1 + np.exp(-(self.centre + deviation * x)))).sum())

    def estimated(self, rng: np.random.Generator, subjects: int, seeds: int) -> Estimate:
        """The estimate of one study."""
        supporting = subjects // 3
        support = np.argsort(rng.random((EPISODES, subjects)), axis=1) < supporting
        shift = 0.1 * self.quality * (support @ rng.normal(size=subjects)) / supporting
        shift = shift + 0.05 * rng.normal(size=EPISODES)
        cells = 0.1 * rng.normal(size=subjects) + shift[:, None]
        cells = cells + 0.1 * rng.normal(size=(seeds, 1, EPISODES, subjects))
        if self.centre is not None:
            cells = 1 / (1 + np.exp(-(self.centre + 5 * cells)))
        cells = np.where(support, np.nan, cells)
        return estimate(cells, support=support, fraction=self.centre is not None)


FEW_SHOT = (
    FewShot("few-shot", "supports vary by half", 0.5),
    FewShot("few-shot", "supports vary as subjects", 1.0),
    FewShot("few-shot, near the ceiling", "mean 0.93", 0.5, centre=3.2),
)


def distances(value: np.ndarray, truth: float) -> np.ndarray:
    """Distance of values from the truth on the scale of their interval: that of logits for fractions."""
    if truth == 0:
        return np.abs(value)
    inside = np.clip(value, 1e-12, 1 - 1e-12)
    # Without an interval, as where every window is correct, the truth is not excluded: the distance is 0.
    gap = np.abs(np.log(inside / (1 - inside)) - math.log(truth / (1 - truth))) * inside * (1 - inside)
    return np.where((value > 0) & (value < 1), gap, 0.0)


def p_values(case: Case, subjects: int, seeds: int, studies: int, rng: np.random.Generator) -> np.ndarray:
    """The p value of the truth in each study; an interval contains the truth where it is 0.05 or more."""
    parts = Parts(case.draw(rng, studies, subjects, seeds), case.folds(subjects, seeds))
    return parts.tail(distances(parts.value, case.truth))


def covered(case: Case, subjects: int, seeds: int, studies: int, rng: np.random.Generator) -> float:
    """Share of studies whose 95 % interval contains the truth."""
    return float((p_values(case, subjects, seeds, studies, rng) >= 0.05).mean())


def covered_few_shot(case: FewShot, subjects: int, seeds: int, studies: int, rng: np.random.Generator) -> float:
    """Share of few-shot studies whose 95 % interval contains the truth."""
    found = [case.estimated(rng, subjects, seeds) for _ in range(studies)]
    distance = distances(np.array([e.value for e in found]), case.truth(subjects))
    return float(np.mean([tail(e.parts, float(d)) >= 0.05 for e, d in zip(found, distance, strict=True)]))


def verdict(share: float) -> str:
    """Whether a coverage is within the range."""
    return "unreliable" if share < LOW else "conservative" if share > HIGH else "as stated"


TABLES = (
    *(("same method, other seeds", s, r, m) for s, r, m in ((8, 3, 3), (30, 3, 3), (30, 3, 15), (8, 5, 15))),
    *(("same method, other seeds", s, r, m) for s, r, m in ((30, 5, 15), (30, 10, 15))),
    *((name, 8, 1, 15) for name in ("normal", "t3 tails", "skewed (exponential)")),
    ("seeds vary as subjects", 15, 3, 15),
    ("pretraining varies as subjects", 8, 3, 15),
    ("training subjects by half", 15, 3, 15),
)
"""Tables without a true difference: case, subjects, seeds (folds), comparisons."""


def family_error(case: Case, subjects: int, seeds: int, family: int, studies: int, rng: np.random.Generator) -> float:
    """Share of tables without a true difference in which one comparison or more is decided after Holm's correction."""
    p = p_values(case, subjects, seeds, studies * family, rng).reshape(studies, family)
    return float(np.mean([bool((holm(row) < 0.05).any()) for row in p]))


def rows(studies: int, seed: int, subjects: Sequence[int], seeds: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """One row per case and size; folds have two subjects or more in one of them."""
    for number, case in enumerate(CASES):
        for s, r in itertools.product(subjects, FOLDS if case.kind == FOLDED else seeds):
            if r >= case.least and (case.kind != FOLDED or s > r):
                share = covered(case, s, r, studies, np.random.default_rng([seed, number, s, r]))
                yield _row(case, s, r, studies, share)
    for number, few in enumerate(FEW_SHOT):
        for s, r in itertools.product(subjects, [r for r in seeds if r in FEW_SHOT_SEEDS]):
            share = covered_few_shot(few, s, r, studies, np.random.default_rng([seed, 100 + number, s, r]))
            yield _row(few, s, r, studies, share)


def _row(case: Case | FewShot, s: int, r: int, studies: int, share: float) -> tuple[Any, ...]:
    return case.kind, case.name, s, r, studies, round(share, 4), verdict(share), "yes" if case.table else "no"


def outside(table: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Lowest and highest coverage of the sizes where one is below the range, or above it beyond simulation noise."""
    found: dict[tuple[str, str], list[float]] = {}
    for kind, _, s, r, _, share, _, kept in table:
        if kept == "yes":
            found.setdefault((kind, f"{s}/{r}"), []).append(share)
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for (kind, size), shares in found.items():
        if min(shares) < LOW or max(shares) > HIGH + 2 * math.sqrt(HIGH * (1 - HIGH) / table[0][4]):
            out.setdefault(kind, {})[size] = (min(shares), max(shares))
    return out


def page(table: Sequence[tuple[Any, ...]]) -> list[str]:
    """Rows as Markdown: one line per case, one column per number of subjects, coverage by number of seeds."""
    subjects = sorted({row[2] for row in table})
    lines = ["| kind | case | " + " | ".join(map(str, subjects)) + " |", "|---|---|" + "---|" * len(subjects)]
    for kind, case in dict.fromkeys((row[0], row[1]) for row in table):
        own = {(row[2], row[3]): row[5] for row in table if row[:2] == (kind, case)}
        cells = [" / ".join(f"{100 * x:.1f}" for (n, _), x in own.items() if n == s) for s in subjects]
        lines.append(f"| {kind} | {case} | " + " | ".join(cells) + " |")
    return lines


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="CSV file of all rows.")] = Path("rows.csv"),
    table: Annotated[Path | None, typer.Option(help="Also write the table of the package.")] = None,
    studies: Annotated[int, typer.Option(min=20, help="Simulated studies per row.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    subjects: Annotated[list[int] | None, typer.Option(help="Numbers of subjects.")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="Numbers of seeds.")] = None,
) -> None:
    """Coverage of 95 % intervals on simulated studies."""
    s, r = sorted(subjects or SUBJECTS), sorted(seeds or SEEDS)
    found = []
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows(studies, seed, s, r):
            writer.writerow(row)
            file.flush()
            found.append(row)
    if table is not None:
        content = {"studies": studies, "seed": seed, "subjects": s, "seeds": r, "folds": list(FOLDS)}
        write_atomic(table, json.dumps({**content, "cells": outside(found)}, indent=1) + "\n")
    console.say(*page(found))


@app.command()
def errors(
    studies: Annotated[int, typer.Option(min=20, help="Simulated tables per row.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
) -> None:
    """Share of tables without a true difference that mark one or more after Holm's correction."""
    named = {case.name: case for case in CASES}
    found = [
        (name, s, r, m, family_error(named[name], s, r, m, studies, np.random.default_rng([seed, number])))
        for number, (name, s, r, m) in enumerate(TABLES)
    ]
    console.table(("case", "subjects", "seeds", "comparisons", "tables with a wrong decision"), found)


@app.command()
def groups(
    data: Annotated[Path, typer.Argument(help="Data folder of many subjects.")],
    split: Annotated[str, typer.Option(help="Split that the subjects are drawn from.")] = "test",
    size: Annotated[list[int] | None, typer.Option(help="Subjects per group.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Shots.")] = 1,
    number: Annotated[int, typer.Option(min=10, help="Groups.")] = 120,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes per group.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Coverage on groups of real subjects: few-shot with hand-crafted features and ridge, accuracy."""
    console.table(
        ("subjects", "groups", "mean", "true sd", "stated sd", "covered", "covered, episodes as independent"),
        [real_groups(data, split, s, shots, number, episodes, seed) for s in size or (8, 15)],
    )


def real_groups(
    data: Path, split: str, size: int, shots: int, number: int, episodes: int, seed: int
) -> tuple[object, ...]:
    """Row of `groups`: the true value is the mean over all groups."""
    from eval.data.features import FeatureSet, handcrafted_features
    from eval.data.splits import Domain, EpisodeConfig, draw_episodes
    from eval.data.windows import load_windows
    from eval.probes import probes
    from eval.protocols.fewshot.run import tally_probe
    from imu_video.metrics.classify import accuracy
    from imu_video.shards.reading.index import load_index

    windows = load_windows(load_index(data), splits=[split])
    everyone = np.unique(windows.subject)
    if size > len(everyone):
        raise ConfigError(
            f"--size {size}: split {split!r} of {data} has {len(everyone)} subjects",
            hint=f"--size {max(2, len(everyone) // 2)}",
        )
    values = handcrafted_features(windows.x, rate_hz=windows.rate_hz)
    features = FeatureSet(model="handcrafted", rows=np.arange(len(values)), arrays=(values,))
    rng = np.random.default_rng([seed, size])
    found: list[Estimate] = []
    plain: list[Estimate] = []
    for group in range(number):
        chosen = rng.permutation(everyone)[:size].tolist()
        domain = Domain(name="group", split=split, where={"subject": chosen})
        drawn = draw_episodes(windows, domain, EpisodeConfig(shots=[shots], episodes=episodes, seed=group))
        counts, _ = tally_probe(windows, drawn, features, probes.build({"name": "ridge"}), shots)
        cells = accuracy(counts)
        found.append(estimate(cells, support=drawn.supporting(shots), fraction=True))
        plain.append(estimate(cells, fraction=True))
    means = np.array([e.value for e in found])
    shares = [
        float(np.mean([low <= means.mean() <= high for low, high in (e.interval(0.95) for e in some)]))
        for some in (found, plain)
    ]
    stated = math.sqrt(float(np.mean([e.se**2 for e in found])))
    return size, number, *(round(float(x), 4) for x in (means.mean(), means.std(ddof=1), stated, *shares))


if __name__ == "__main__":
    console.run(app)
