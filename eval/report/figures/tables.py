"""Figures of whole tables: few-shot curves, paired differences, confusion matrices, training curves (SVG)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eval.report.figures.common import LINES, MODELS, common_legend, encoded, grid, pyplot, short
from eval.report.words import metric_name, plural
from eval.results.lines import Result


def curves(results: Sequence[Result], *, metric: str) -> bytes:
    """Figures by number of shots: one panel per domain, one line per model and probe, bands for intervals (SVG)."""
    figure_class, style = pyplot()
    rows = [r for r in results if not r.is_difference and r.metric == metric]
    domains = list(dict.fromkeys(r.domain for r in rows))
    probes = list(dict.fromkeys(r.probe for r in rows if r.model != "supervised"))
    shots = sorted({int(r.shots or 0) for r in rows})
    with style:
        wide = min(3, len(domains))
        size = (4.6 if wide == 1 else 3.3, 2.9)
        figure, axes = grid(figure_class, len(domains), wide=wide, size=size, sharex=False)
        for axis, domain in zip(axes.ravel(), domains, strict=False):
            own = [r for r in rows if r.domain == domain]
            lines = list(dict.fromkeys((r.model, r.probe) for r in own))
            for n, (model, probe) in enumerate(lines):
                line = sorted((r for r in own if (r.model, r.probe) == (model, probe)), key=lambda r: r.shots or 0)
                colour, marker = MODELS.get(model, ("#7b3fa0", "*"))
                aside = 0.05 * (n - (len(lines) - 1) / 2) if len(shots) == 1 else 0.0
                place = [shots.index(int(r.shots or 0)) + aside for r in line]
                value = np.array([r.value for r in line])
                low = np.array([r.value if r.low is None else r.low for r in line])
                high_end = np.array([r.value if r.high is None else r.high for r in line])
                if len(line) > 1:
                    axis.fill_between(place, low, high_end, color=colour, alpha=0.1, linewidth=0)
                axis.errorbar(
                    place,
                    value,
                    yerr=None if len(line) > 1 else np.maximum([value - low, high_end - value], 0),
                    color=colour,
                    marker=marker,
                    markersize=4.5,
                    linestyle=LINES[probes.index(probe) % len(LINES)] if probe in probes else ":",
                    linewidth=1.5,
                    elinewidth=0.9,
                    label=f"{model}, {probe}",
                )
            chance = next((r.chance for r in own if r.chance is not None), None)
            if chance is not None:
                axis.axhline(chance, color="#b0b7bf", linewidth=1, linestyle=(0, (2, 3)))
                axis.annotate(
                    "chance", (len(shots) - 1, chance), fontsize=7.5, color="#8b939c", va="bottom", ha="right"
                )
            axis.set_title(f"{domain} ({own[0].setting})")
            axis.set_xticks(range(len(shots)), [str(s) for s in shots])
            axis.set_xlabel("labelled windows per class")
        for axis in axes[:, 0]:
            axis.set_ylabel(metric_name(metric))
        common_legend(figure, axes, columns=4)
        return encoded(figure, "svg")


def by_domain(r: Result) -> str:
    """Name of a comparison in `forest`: domain, shot count and probe."""
    return f"{r.domain} · {plural(r.shots or 0, 'shot')} · {r.probe}"


def forest(results: Sequence[Result], *, metric: str, name: Callable[[Result], str] = by_domain) -> bytes:
    """Paired differences with intervals: one panel per reference, one row per comparison, decided ones coloured (SVG).

    Args:
        results: lines; figures and lines of other metrics are skipped.
        metric: the figure.
        name: name of a comparison.
    """
    figure_class, style = pyplot()
    rows = [r for r in results if r.is_difference and r.metric == metric]
    references = list(dict.fromkeys(str(r.reference) for r in rows))
    lines = list(dict.fromkeys(map(name, rows)))
    with style:
        figure = figure_class(figsize=(2.4 + 2.6 * len(references), 1.2 + 0.24 * len(lines)), layout="constrained")
        axes = figure.subplots(1, len(references), squeeze=False, sharey=True)[0]
        for axis, reference in zip(axes, references, strict=True):
            for r in rows:
                if r.reference != reference:
                    continue
                y = lines.index(name(r))
                colour = "#8b939c" if not r.decided else ("#1b7a3d" if r.value > 0 else "#b3361f")
                if r.low is not None and r.high is not None:
                    axis.plot([r.low, r.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
                axis.plot([r.value], [y], marker="o", color=colour, markersize=4.5)
            axis.axvline(0, color="#1d2430", linewidth=0.9)
            axis.set_title(f"minus {reference}")
            axis.set_xlabel(f"difference in {metric_name(metric)}")
            axis.locator_params(axis="x", nbins=5)
            axis.grid(axis="y", visible=False)
        axes[0].set_yticks(range(len(lines)), lines)
        axes[0].set_ylim(len(lines) - 0.4, -0.6)
        return encoded(figure, "svg")


def confusion(counts: np.ndarray, classes: Sequence[str], *, title: str) -> bytes:
    """A confusion matrix, each row as shares of the true class (SVG)."""
    figure_class, style = pyplot()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [short(name) for name in classes]
    size, margin = 0.36 * max(len(classes), 4), 0.9 + 0.07 * max(map(len, names))
    with style:
        figure = figure_class(figsize=(size + margin, size + margin), layout="constrained")
        axis = figure.subplots()
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(classes)), names, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(classes)), names)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        figure.suptitle(short(title, 60), fontsize=10, fontweight="bold")
        axis.grid(visible=False)
        if len(classes) > 16:
            figure.colorbar(image, ax=axis, shrink=0.7, label="share of the true class")
        else:
            for i, j in np.argwhere(share >= 0.005):
                colour = "white" if share[i, j] > 0.55 else "#1d2430"
                axis.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
        return encoded(figure, "svg")


def training(log: Sequence[Mapping[str, Any]]) -> bytes:
    """Training and validation loss against steps, and validation retrieval where it was logged (SVG)."""
    figure_class, style = pyplot()
    train = _series(log, "train", "loss")
    checks = {"validation": _series(log, "validate", "loss")}
    retrieval = {
        "IMU to video R@1": _series(log, "validate", "imu_to_video/R@1"),
        "IMU to video R@5": _series(log, "validate", "imu_to_video/R@5"),
        "MRR (both ways)": _series(log, "validate", "mrr"),
    }
    retrieval = {name: s for name, s in retrieval.items() if s[0]}
    with style:
        figure = figure_class(figsize=(8.6 if retrieval else 5.0, 2.9), layout="constrained")
        axes = figure.subplots(1, 2 if retrieval else 1, squeeze=False)[0]
        axes[0].plot(*train, color="#1f5fa8", linewidth=1.1, label="training")
        for name, series in checks.items():
            if series[0]:
                axes[0].plot(*series, color="#d07a00", marker="o", markersize=3.5, linewidth=1.3, label=name)
        axes[0].set_title("loss")
        axes[0].set_xlabel("step")
        axes[0].legend()
        if retrieval:
            for (name, series), line in zip(retrieval.items(), LINES, strict=False):
                axes[1].plot(*series, marker="o", markersize=3.5, linewidth=1.3, linestyle=line, label=name)
            axes[1].set_title("validation retrieval")
            axes[1].set_xlabel("step")
            axes[1].set_ylim(0, None)
            axes[1].legend()
        return encoded(figure, "svg")


def _series(log: Sequence[Mapping[str, Any]], kind: str, name: str) -> tuple[list[int], list[float]]:
    rows = {
        int(entry["step"]): float(entry[name])
        for entry in log
        if entry.get("kind") == kind and isinstance(entry.get(name), int | float)
    }
    return sorted(rows), [rows[step] for step in sorted(rows)]
