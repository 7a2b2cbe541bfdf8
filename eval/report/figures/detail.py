"""Figures of single subjects, calibration, benchmark runs and windows; those of whole tables are in tables.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.report.figures.common import common_legend, encoded, grid, look, pyplot, short
from eval.report.words import metric_name


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Figures of single subjects: one panel of `strips`.

    Args:
        title: of the panel.
        subjects: names of S subjects.
        figures: model -> (S,) figures, NaN for a subject without queries.
        chance: expected figure of a random guess, or None.
    """

    title: str
    subjects: Sequence[str]
    figures: Mapping[str, np.ndarray]
    chance: float | None = None


def strips(panels: Sequence[Strip], *, metric: str) -> bytes:
    """Figures of every subject under every model, subjects sorted by the first model (SVG)."""
    figure_class, style = pyplot()
    with style:
        wide = 1 if max(len(p.subjects) for p in panels) > 12 else min(2, len(panels))
        figure, axes = grid(figure_class, len(panels), wide=wide, size=(8.4 if wide == 1 else 4.6, 2.7), sharex=False)
        names = list(dict.fromkeys(name for p in panels for name in p.figures))
        for axis, panel in zip(axes.ravel(), panels, strict=False):
            first = next(iter(panel.figures.values()))
            order = np.argsort(np.where(np.isfinite(first), first, np.inf), kind="stable")
            for name, values in panel.figures.items():
                colour, marker = look(name, names)
                axis.plot(
                    np.arange(len(order)), values[order], marker, color=colour, markersize=5, alpha=0.85, label=name
                )
            if panel.chance is not None:
                axis.axhline(panel.chance, color="#b0b7bf", linewidth=1, linestyle=(0, (2, 3)))
            ticks = [short(panel.subjects[i], 16) for i in order] if len(order) <= 40 else [""] * len(order)
            axis.set_xticks(range(len(order)), ticks, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
            axis.set_title(panel.title)
            axis.grid(axis="x", linewidth=0.5)
        for axis in axes[:, 0]:
            axis.set_ylabel(metric_name(metric))
        common_legend(figure, axes, columns=4)
        return encoded(figure, "svg")


def reliability(panels: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Accuracy against stated confidence: one panel per title, one line per model (SVG).

    Below the diagonal a model is overconfident.

    Args:
        panels: title -> model -> (B, 3) reliability bins, see `imu_video.metrics.calibration`.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))

    def draw(axis: Any, name: str, bins: np.ndarray) -> None:
        own = bins[bins[:, 0] > 0.002 * bins[:, 0].sum()]
        colour, marker = look(name, names)
        x, y = own[:, 1] / own[:, 0], own[:, 2] / own[:, 0]
        axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)

    return _squares(panels, draw, size=(3.4, 3.2), limits=(0, 1), of=("stated confidence", "accuracy"))


def source_and_target(panels: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Target accuracy against source validation accuracy: one panel per model, one dot per run (SVG).

    Colours distinguish targets.

    Args:
        panels: model -> target -> (n, 2) pairs of source validation and target accuracy.
    """
    import matplotlib

    targets = list(dict.fromkeys(t for lines in panels.values() for t in lines))
    palette = matplotlib.colormaps["tab20" if len(targets) > 10 else "tab10"]
    everything = np.concatenate([pairs for lines in panels.values() for pairs in lines.values()])
    low = max(0.0, float(everything.min()) - 0.03)

    def draw(axis: Any, target: str, pairs: np.ndarray) -> None:
        colour = palette(targets.index(target) % palette.N)
        axis.scatter(pairs[:, 0], pairs[:, 1], s=16, color=colour, alpha=0.75, linewidths=0, label=target)

    words_of = ("source validation accuracy", "target accuracy")
    return _squares(panels, draw, size=(3.6, 3.4), limits=(low, 1.01), of=words_of, columns=5)


def _squares(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    draw: Callable[[Any, str, np.ndarray], None],
    *,
    size: tuple[float, float],
    limits: tuple[float, float],
    of: tuple[str, str],
    columns: int = 4,
) -> bytes:
    """Square panels with a diagonal; ``draw`` draws one named array, ``of`` names both axes (SVG)."""
    figure_class, style = pyplot()
    with style:
        figure, axes = grid(figure_class, len(panels), wide=min(3, len(panels)), size=size)
        for axis, (title, lines) in zip(axes.ravel(), panels.items(), strict=False):
            axis.plot([0, 1], [0, 1], color="#b0b7bf", linewidth=1, linestyle=(0, (2, 3)))
            for name, values in lines.items():
                draw(axis, name, values)
            axis.set_title(title)
            axis.set_xlim(*limits)
            axis.set_ylim(*limits)
            axis.set_aspect("equal")
        for axis in axes[-1]:
            axis.set_xlabel(of[0])
        for axis in axes[:, 0]:
            axis.set_ylabel(of[1])
        common_legend(figure, axes, columns=columns)
        return encoded(figure, "svg")
