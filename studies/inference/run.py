"""Coverage and error rates of the intervals and tests that results use; see README.md beside this file."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from imu_video.errors import ConfigError
from imu_video.metrics.inference import Estimate, estimate
from imu_video.metrics.significance import compare
from imu_video.runtime import console

app = typer.Typer(add_completion=False, no_args_is_help=True)

SUBJECTS, SEEDS = (4, 6, 8, 15, 30), (1, 2, 3, 5, 10)
LOW, HIGH = 0.93, 0.97
COLUMNS = ("case", "subjects", "seeds", "studies", "covered", "verdict", "remark")


@dataclass(frozen=True)
class Case:
    """A kind of data: cells (seeds, 1, subjects) of a study, with a true value of zero unless they are fractions."""

    name: str
    draw: Callable[[np.random.Generator, int, int], np.ndarray]
    seed: float = 0.0
    fraction: float | None = None
    """True value of fractions; None for differences."""


def _scaled(values: np.ndarray, seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Subject values of a difference, with noise of half their deviation per cell."""
    return 0.1 * values[None, None] + 0.05 * rng.normal(size=(seeds, 1, len(values)))


CASES = (
    Case("normal", lambda rng, s, r: _scaled(rng.normal(size=s), r, rng)),
    Case("t3 tails", lambda rng, s, r: _scaled(rng.standard_t(3, s) / math.sqrt(3), r, rng)),
    Case("skewed (exponential)", lambda rng, s, r: _scaled(1 - rng.exponential(size=s), r, rng)),
    Case(
        "unequal subjects",  # every third subject has three times the noise of the others
        lambda rng, s, r: _scaled(rng.normal(size=s) * np.where(np.arange(s) % 3 == 0, 3.0, 1.0), r, rng),
    ),
    Case("seeds vary by a third", lambda rng, s, r: _scaled(rng.normal(size=s), r, rng), seed=0.03),
    Case("seeds vary as subjects", lambda rng, s, r: _scaled(rng.normal(size=s), r, rng), seed=0.1),
    Case("fractions, mean 0.86", lambda rng, s, r: np.tile(rng.beta(6, 1, s), (r, 1, 1)), fraction=6 / 7),
    Case("fractions, mean 0.95", lambda rng, s, r: np.tile(rng.beta(20, 1, s), (r, 1, 1)), fraction=20 / 21),
)


def covered(case: Case, subjects: int, seeds: int, studies: int, rng: np.random.Generator) -> tuple[float, str]:
    """Share of studies whose 95 % interval contains the truth, and the most frequent remark."""
    hits = 0
    remarks: list[str] = []
    for _ in range(studies):
        cells = case.draw(rng, subjects, seeds) + case.seed * rng.normal(size=(seeds, 1, 1))
        found = estimate(cells, fraction=case.fraction is not None, random_seeds=case.seed > 0)
        remarks += found.remarks
        if case.fraction is None:
            hits += found.p is None or found.p >= 0.05  # p < 0.05 exactly where the interval excludes the truth, 0
        else:
            low, high = found.interval(0.95)
            hits += low <= case.fraction <= high
    common = max(set(remarks), key=remarks.count) if remarks else ""
    share = remarks.count(common) / studies if common else 0.0
    return hits / studies, f"{common} ({100 * share:.0f} % of studies)" if common else ""


def verdict(share: float, studies: int) -> str:
    """Whether a coverage is within the range, allowing for two standard deviations of the simulation."""
    noise = 2 * math.sqrt(0.95 * 0.05 / studies)
    return "too low" if share < LOW - noise else "conservative" if share > HIGH + noise else "as stated"


def family_error(subjects: int, seeds: int, family: int, studies: int, rng: np.random.Generator) -> float:
    """Share of tables in which one comparison or more is wrongly decided: methods that differ by their seeds only."""
    wrong = 0
    for _ in range(studies):
        # A method against itself with other seeds: no effect of subjects, an effect of every seed, and the rest.
        found = [
            estimate(rng.normal(0, 0.02, (seeds, 1, 1)) + rng.normal(0, 0.03, (seeds, 1, subjects)))
            for _ in range(family)
        ]
        wrong += any(c.p_holm is not None and c.p_holm < 0.05 for c in compare(found))
    return wrong / studies


def rows(studies: int, seed: int, subjects: Sequence[int], seeds: Sequence[int]) -> Iterable[tuple[object, ...]]:
    """One row per case and size."""
    for number, (case, s, r) in enumerate(itertools.product(CASES, subjects, seeds)):
        if case.fraction is not None and r > 1:
            continue  # seeds do not vary in these cases
        share, remark = covered(case, s, r, studies, np.random.default_rng([seed, number]))
        yield case.name, s, r, studies, round(share, 4), verdict(share, studies), remark


@app.command()
def simulate(
    out: Annotated[Path | None, typer.Option(help="CSV file of all rows.")] = None,
    studies: Annotated[int, typer.Option(min=100, help="Simulated studies per row.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    subjects: Annotated[list[int] | None, typer.Option(help="Numbers of subjects.")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="Numbers of seeds.")] = None,
) -> None:
    """Coverage of 95 % intervals on simulated studies, and the error rate of tables without a true difference."""
    table = list(rows(studies, seed, subjects or SUBJECTS, seeds or SEEDS))
    if out is not None:
        with out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *table])
    console.table(COLUMNS, table)
    errors = [
        (s, r, m, family_error(s, r, m, max(100, studies // 4), np.random.default_rng([seed, 7, s, r, m])))
        for s, r, m in ((8, 3, 3), (30, 3, 3), (30, 3, 15), (30, 5, 15))
    ]
    console.table(("subjects", "seeds", "comparisons", "tables with a wrong decision"), errors)


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
