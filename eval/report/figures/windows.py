"""Figures of windows: traces, skeleton poses, sample pairs, and a map of features (SVG or PNG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.report.figures.common import INK, MODELS, encoded, pyplot, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = ("#c0392b", "#1b7a3d", "#1f5fa8")
"""Colours of x, y and z, as on the browsing page."""


def traces(
    values: Sequence[Sequence[float | None]], channels: Sequence[str], units: Mapping[str, str], *, window_s: float
) -> bytes:
    """Traces of one device's window: acceleration above angular rate, gaps where samples are missing (SVG).

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
    """Poses of a skeleton, ``number`` of them evenly spaced over its window (SVG).

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


def scatter(points: np.ndarray, groups: Mapping[str, np.ndarray]) -> bytes:
    """The same map of (N, 2) points in every panel, coloured by one grouping each (PNG)."""
    figure_class, style = pyplot()
    import matplotlib

    with style:
        figure = figure_class(figsize=(4.2 * len(groups), 4.4), layout="constrained")
        for axis, (name, group) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
            values = np.unique(group)
            palette = matplotlib.colormaps["tab20" if len(values) > 10 else "tab10"]
            for n, value in enumerate(values):
                own = points[group == value]
                axis.scatter(own[:, 0], own[:, 1], s=9, color=palette(n % palette.N), label=short(value), linewidths=0)
            axis.set_title(f"by {name}")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(visible=False)
            axis.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, fontsize=7, markerscale=1.6, handletextpad=0.1
            )
        return encoded(figure, "png")


def pairs(samples: Sequence[Mapping[str, Any]]) -> bytes:
    """Sample pairs: frames (or skeletons) of a window beside its acceleration (PNG).

    Args:
        samples: mappings with ``title``, ``frames`` (n, H, W, 3) uint8 or ``joints`` (n, J, 3), ``acc`` (3, T),
            ``rate_hz`` and ``placement``.
    """
    figure_class, style = pyplot()
    with style:
        figure = figure_class(figsize=(9.4, 1.5 * len(samples)), layout="constrained")
        most = max(len(s.get("frames", s.get("joints", ()))) for s in samples)
        grid = figure.add_gridspec(len(samples), most + 1, width_ratios=[1.0] * most + [most * 0.75])
        for row, sample in enumerate(samples):
            shown = sample.get("frames", sample.get("joints", ()))
            for column, picture in enumerate(shown):
                axis = figure.add_subplot(grid[row, column])
                _picture(axis, picture)
                if column == 0:
                    axis.set_title(short(sample["title"], 40), fontsize=8, loc="left", fontweight="normal")
            axis = figure.add_subplot(grid[row, most])
            acc = np.asarray(sample["acc"])
            seconds = np.arange(acc.shape[1]) / sample["rate_hz"]
            for values, name, colour in zip(acc, "xyz", ("#1f5fa8", "#d07a00", "#2e8540"), strict=True):
                axis.plot(seconds, values, linewidth=0.9, color=colour, label=name)
            axis.set_ylabel("m/s²", fontsize=7.5)
            axis.tick_params(labelsize=7)
            axis.set_title(f"acceleration, {sample['placement']}", fontsize=8, loc="left", fontweight="normal")
            if row == 0:
                axis.legend(fontsize=7, ncols=3, loc="upper right")
        return encoded(figure, "png")


def _picture(axis: Axes, picture: np.ndarray) -> None:
    if picture.dtype == np.uint8:
        axis.imshow(picture)
    else:
        up = int(np.argmax(np.ptp(picture, axis=0)))
        across = next(i for i in range(3) if i != up)
        axis.scatter(picture[:, across], picture[:, up], s=5, color="#1f5fa8")
        axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
