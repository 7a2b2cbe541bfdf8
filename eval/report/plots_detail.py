"""Figures of single people, confidences, benchmark runs and windows as SVG bytes; those of whole tables: plots.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.report.plots import INK, MODELS, OTHER, common_legend, encoded, grid, pyplot, short, words

AXES = ("#c0392b", "#1b7a3d", "#1f5fa8")
"""Colours of x, y and z, as on the browsing page."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Figures of single people: one panel of `strips`.

    Args:
        title: of the panel.
        people: names of S people.
        figures: model -> (S,) figures, NaN where somebody was not asked.
        chance: what guessing gives, or None.
    """

    title: str
    people: Sequence[str]
    figures: Mapping[str, np.ndarray]
    chance: float | None = None


def strips(panels: Sequence[Strip], *, metric: str) -> bytes:
    """Every person's figure under every model, people in the order of the first model (SVG)."""
    figure_class, style = pyplot()
    with style:
        wide = 1 if max(len(p.people) for p in panels) > 12 else min(2, len(panels))
        figure, axes = grid(figure_class, len(panels), wide=wide, size=(8.4 if wide == 1 else 4.6, 2.7), sharex=False)
        names = list(dict.fromkeys(name for p in panels for name in p.figures))
        for axis, panel in zip(axes.ravel(), panels, strict=False):
            first = next(iter(panel.figures.values()))
            order = np.argsort(np.where(np.isfinite(first), first, np.inf), kind="stable")
            for name, values in panel.figures.items():
                colour, marker = _look(name, names)
                axis.plot(
                    np.arange(len(order)), values[order], marker, color=colour, markersize=5, alpha=0.85, label=name
                )
            if panel.chance is not None:
                axis.axhline(panel.chance, color="#b0b7bf", linewidth=1, linestyle=(0, (2, 3)))
            ticks = [short(panel.people[i], 16) for i in order] if len(order) <= 40 else [""] * len(order)
            axis.set_xticks(range(len(order)), ticks, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
            axis.set_title(panel.title)
            axis.grid(axis="x", linewidth=0.5)
        for axis in axes[:, 0]:
            axis.set_ylabel(words(metric))
        common_legend(figure, axes, columns=4)
        return encoded(figure, "svg")


def reliability(panels: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Accuracy against stated confidence: one panel a title, a line a model; below the diagonal = overconfident (SVG).

    Args:
        panels: title -> model -> (B, 3) reliability bins, see `imu_video.metrics.calibration`.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))

    def draw(axis: Any, name: str, bins: np.ndarray) -> None:
        own = bins[bins[:, 0] > 0.002 * bins[:, 0].sum()]
        colour, marker = _look(name, names)
        x, y = own[:, 1] / own[:, 0], own[:, 2] / own[:, 0]
        axis.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)

    return _squares(panels, draw, size=(3.4, 3.2), limits=(0, 1), of=("stated confidence", "share that is right"))


def source_and_target(panels: Mapping[str, Mapping[str, np.ndarray]]) -> bytes:
    """Accuracy in the target against source validation accuracy: a panel a model, a dot a run, colours by target (SVG).

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

    words_of = ("source validation accuracy", "accuracy in the target")
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
    """Square panels around a diagonal; ``draw`` puts one named array into one, ``of`` names both axes (SVG)."""
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


def traces(
    values: Sequence[Sequence[float | None]], channels: Sequence[str], units: Mapping[str, str], *, window_s: float
) -> bytes:
    """One device's window: acceleration above angular rate, gaps where nothing was measured (SVG).

    Shapes:
        values: C channels by T points.
    """
    figure_class, style = pyplot()
    lines = {
        name: np.array([np.nan if v is None else v for v in row]) for name, row in zip(channels, values, strict=True)
    }
    groups = [(p, word) for p, word in (("acc", "acceleration"), ("gyr", "angular rate")) if _measured(lines, p)]
    with style:
        figure = figure_class(figsize=(4.2, 0.4 + 1.15 * len(groups)), layout="constrained")
        for axis, (prefix, word) in zip(
            figure.subplots(len(groups), 1, squeeze=False, sharex=True)[:, 0], groups, strict=True
        ):
            own = {name: line for name, line in lines.items() if name.startswith(prefix)}
            for (name, line), colour in zip(own.items(), AXES, strict=False):
                axis.plot(np.linspace(0, window_s, len(line)), line, color=colour, linewidth=1, label=name[-1])
            axis.set_title(f"{word}, {units.get(next(iter(own)), '')}", loc="left", fontsize=8, fontweight="normal")
            axis.tick_params(labelsize=7.5)
            axis.legend(fontsize=7, ncols=3, loc="upper right", handlelength=1, borderpad=0, labelspacing=0)
            axis.margins(y=0.2)
            axis.set_xlim(0, window_s)
        axis.set_xlabel("s", fontsize=8, labelpad=0)
        return encoded(figure, "svg")


def poses(track: np.ndarray, bones: Sequence[Sequence[int]], *, right: int, up: int, number: int = 5) -> bytes:
    """So many poses of a skeleton, evenly over its window (SVG).

    Shapes:
        track (F, J, 3) metres.
    """
    figure_class, style = pyplot()
    some = track[np.linspace(0, len(track) - 1, min(number, len(track))).round().astype(int)]
    with style:
        figure = figure_class(figsize=(4.2, 1.5), layout="constrained")
        for axis, joints in zip(
            figure.subplots(1, len(some), squeeze=False, sharex=True, sharey=True)[0], some, strict=True
        ):
            for a, b in bones:
                axis.plot(joints[[a, b], right], joints[[a, b], up], color=MODELS["pretrained"][0], linewidth=1.4)
            axis.plot(joints[:, right], joints[:, up], "o", color=INK, markersize=1.8)
            axis.set_aspect("equal")
            axis.axis("off")
        return encoded(figure, "svg")


def _measured(lines: Mapping[str, np.ndarray], prefix: str) -> bool:
    return any(np.isfinite(line).any() for name, line in lines.items() if name.startswith(prefix))


def _look(name: str, names: Sequence[str]) -> tuple[str, str]:
    """Colour and marker: of a known model, else by its place among the names."""
    if name in MODELS:
        return MODELS[name]
    others = [n for n in names if n not in MODELS]
    return OTHER[others.index(name) % len(OTHER)], "o*s^Dv"[others.index(name) % 6]
