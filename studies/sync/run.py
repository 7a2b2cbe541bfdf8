"""Calibration and test of the score of pairs without a common clock; see README.md beside this file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from imu_video.recordings.pairing import PairEstimate, calibrated, estimate_pair, features
from imu_video.runtime import console

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from studies.sync.candidates import Candidate, simulated, utd_mhad, xsens_vicon  # noqa: E402
from studies.sync.smartfallmm import Trial, summary, trials  # noqa: E402

app = typer.Typer(add_completion=False, no_args_is_help=True)

WITHIN_S = 0.1
"""A true pair counts as found if the root mean square error of the reference's times is at most this."""

LEVELS = (0.5, 0.7, 0.9, 0.95)

COLUMNS = (
    "source",
    "subject",
    "kind",
    "true_offset_s",
    "error_s",
    "score",
    "correlation",
    "lead",
    "refused",
)

DATA = Path("../shared/data")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate with its estimate; ``error_s`` is NaN for a wrong partner."""

    source: str
    subject: str
    kind: str
    error_s: float
    offset_s: float
    estimate: PairEstimate

    @property
    def right(self) -> bool:
        """Whether the candidate is a pair and its offset was found."""
        return self.kind == "true" and self.error_s <= WITHIN_S


def estimated(candidates: Iterable[Candidate]) -> list[Row]:
    """The estimates of candidates."""
    rows = []
    for candidate in candidates:
        estimate = estimate_pair(candidate.motion, candidate.reference)
        error = candidate.error_s(estimate) if candidate.kind == "true" else float("nan")
        rows.append(
            Row(
                source=candidate.source,
                subject=candidate.subject,
                kind=candidate.kind,
                error_s=error,
                offset_s=candidate.offset_s,
                estimate=estimate,
            )
        )
    return rows


def fitted(rows: Sequence[Row], ridge: float = 1.0) -> tuple[float, ...]:
    """Constant and weights of the logistic model, by Newton's method with a small ridge on the weights.

    Every source counts alike, whatever its number of candidates.
    """
    known = [row for row in rows if row.estimate.refused is None]
    x = np.array([(1.0, *features(row.estimate)) for row in known])
    y = np.array([float(row.right) for row in known])
    number = {source: sum(row.source == source for row in known) for source in {row.source for row in known}}
    weight = np.array([len(known) / len(number) / number[row.source] for row in known])
    found = np.zeros(x.shape[1])
    penalty = ridge * np.diag([0.0, *np.ones(x.shape[1] - 1)])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ found))
        gradient = x.T @ (weight * (y - p)) - penalty @ found
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + penalty
        step = np.linalg.solve(curvature, gradient)
        found = found + step
        if np.abs(step).max() < 1e-8:
            break
    return tuple(float(f"{value:.3g}") for value in found)


def wilson(right: int, number: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not number:
        return 0.0, 1.0
    z, p = 1.96, right / number
    centre, half = p + z * z / (2 * number), z * np.sqrt(p * (1 - p) / number + z * z / (4 * number**2))
    return float((centre - half) / (1 + z * z / number)), float((centre + half) / (1 + z * z / number))


def table(rows: Sequence[Row], weights: tuple[float, ...] | None = None) -> list[str]:
    """Lines of the table: per source and score level, how many survive and how many of them are right."""
    lines = [
        "| source | candidates (true) | refused | score from | true pairs kept | right among kept | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for source in dict.fromkeys(row.source for row in rows):
        mine = [row for row in rows if row.source == source]
        scores = np.array([0.0 if row.estimate.refused else calibrated(row.estimate, weights) for row in mine])
        right = np.array([row.right for row in mine])
        true = np.array([row.kind == "true" for row in mine])
        refused = sum(row.estimate.refused is not None for row in mine)
        for level in LEVELS:
            kept = scores >= level
            low, high = wilson(int(right[kept].sum()), int(kept.sum()))
            share = f"{right[kept].mean():.3f}" if kept.any() else "-"
            lines.append(
                f"| {source} | {len(mine)} ({int(true.sum())}) | {refused} | {level} | "
                f"{int((kept & true).sum())} ({(kept & true).sum() / max(true.sum(), 1):.0%}) | "
                f"{share} of {int(kept.sum())} | {low:.2f} .. {high:.2f} |"
            )
    return lines


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Candidates of the subjects for calibration and of the others; the single walk only tests."""
    fit, test = [], []
    for source in dict.fromkeys(row.source for row in rows):
        mine = [row for row in rows if row.source == source]
        subjects = sorted({row.subject for row in mine})
        known = set(subjects[: len(subjects) // 2])
        fit += [row for row in mine if row.subject in known]
        test += [row for row in mine if row.subject not in known]
    return fit, test


def write(rows: Sequence[Row], path: Path) -> None:
    """One line per candidate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            e = row.estimate
            numbers = (row.offset_s, row.error_s, e.score, e.correlation, e.lead)
            names = (row.source, row.subject, row.kind)
            writer.writerow((*names, *(f"{value:.4f}" for value in numbers), e.refused or ""))


@app.callback()
def main() -> None:
    """Calibration and test of the score of pairs without a common clock."""


@app.command()
def score(
    data: Annotated[Path, typer.Option(help="Folder with utd-mhad and xsens-vicon-walk.")] = DATA,
    out: Annotated[Path, typer.Option(help="Folder of the candidates' table.")] = Path("sync-run"),
    seed: Annotated[int, typer.Option(help="Seed of the candidates.")] = 0,
    subjects: Annotated[int, typer.Option(help="Simulated subjects.")] = 10,
    each: Annotated[int, typer.Option(help="True pairs per subject; as many wrong partners.")] = 30,
) -> None:
    """Fit the score on half of the subjects, and test it on the others."""
    rows = estimated(simulated(subjects=subjects, per_subject=each, seed=seed))
    if (data / "utd-mhad").is_dir():
        rows += estimated(utd_mhad(data / "utd-mhad", per_subject=each, seed=seed))
    walk = next(iter(sorted((data / "xsens-vicon-walk").rglob("vicon"))), None)
    if walk is not None:
        rows += estimated(xsens_vicon(walk.parent, per_sensor=max(2, each // 4), seed=seed))
    write(rows, out / "candidates.csv")
    fit, test = split(rows)
    weights = fitted(fit)
    console.say(f"weights fitted here: {weights}")
    for title, some in (("fitted here", weights), ("as shipped", None)):
        console.say("", f"score {title}, subjects of the test ({len(test)} candidates):", "")
        for line in table(test, some):
            console.say(line)
    found = [row for row in test if row.kind == "true" and row.estimate.refused is None]
    errors = np.array([row.error_s for row in found])
    console.say(
        "",
        f"true pairs of the test: {np.mean(errors <= WITHIN_S):.1%} of {len(errors)} within {WITHIN_S} s, "
        f"median error {np.median(errors):.3f} s; offsets {min(row.offset_s for row in found):.1f} .. "
        f"{max(row.offset_s for row in found):.1f} s",
    )


@app.command()
def smartfallmm(
    data: Annotated[Path, typer.Argument(help="Folder that contains young/ and old/.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables of pairs.")] = Path("sync-run"),
    most: Annotated[int, typer.Option(help="Trials per group and device.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the choice of trials and partners.")] = 0,
) -> None:
    """Compare skeletons of the same trial with those of another subject; write the dataset's table of pairs."""
    rows: list[Trial] = []
    for group in ("young", "old"):
        for device in ("watch", "meta_hip", "phone", "meta_wrist"):
            rows += trials(data, group=group, device=device, most=most, seed=seed)
    for line in summary(rows):
        console.say(line)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "smartfallmm-pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["recording", "offset_s", "stretch", "score"])
        for row in rows:
            if row.own.refused is None:
                numbers = (row.own.offset_s, row.own.stretch, row.own.score)
                writer.writerow([row.recording, *(f"{value:.4f}" for value in numbers)])


if __name__ == "__main__":
    app()
