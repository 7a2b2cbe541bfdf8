"""Pictures of the synthetic world for its documentation page: ``python -m imu_video.simulation.pictures OUT``.

Needs matplotlib (``pip install imu-video[report]``); nothing else in the library imports this module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError
from imu_video.runtime.console import run, say
from imu_video.simulation.activities import ACTIVITIES
from imu_video.simulation.camera import VIEWS
from imu_video.simulation.person import draw_person
from imu_video.simulation.render import RenderedVideo
from imu_video.simulation.sensors import PROFILES
from imu_video.simulation.session import Session, simulate
from imu_video.simulation.world import film, wear
from imu_video.types import ImuStream

_DPI = 100
_AXIS_COLOURS = ("#c0392b", "#2e86ab", "#27ae60")


def make_pictures(out: Path, *, seed: int = 0) -> list[Path]:
    """Draw the pictures of docs/concepts/world.md into a folder and return their paths.

    Args:
        out: folder, created when absent.
        seed: the world's seed.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("pictures need matplotlib", hint='pip install "imu-video[report]"') from error
    out.mkdir(parents=True, exist_ok=True)
    return [_people(out / "world_people.png", seed), _traces(out / "world_traces.png", seed), _shifts(out, seed)]


def _session(seed: int, subject: str, activities: Sequence[str], seconds: float) -> Session:
    population = "slow_gait" if subject.startswith("s") else "general"
    person = draw_person(seed, subject, population)
    return simulate(person, activities=activities, seconds_per_activity=seconds, seed=seed, session="1")


def _clean(video: RenderedVideo) -> RenderedVideo:
    """The same video without pixel noise, which PNG files cannot compress."""
    video.camera = replace(video.camera, noise=0.0)
    return video


def _at(times: np.ndarray, moment: float) -> int:
    return int(np.argmin(np.abs(times - moment)))


def _save(figure: Any, path: Path, *, colours: int = 128) -> Path:
    """Write a figure with a small palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels)).quantize(colors=colours, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    return path


def _sheet(rows: list[list[np.ndarray]], left: Sequence[str], top: Sequence[str]) -> Any:
    """Images in rows and columns with names at their margins, pixel for pixel."""
    from matplotlib.figure import Figure

    size, gap, margin, head = rows[0][0].shape[0], 3, 82, 18
    height = head + len(rows) * (size + gap)
    width = margin + len(rows[0]) * (size + gap)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = head + i * (size + gap), margin + j * (size + gap)
            canvas[y : y + size, x : x + size] = image
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    figure.figimage(canvas)
    for i, text in enumerate(left):
        middle = head + i * (size + gap) + size / 2
        figure.text(4 / width, 1 - middle / height, text, fontsize=7, va="center", linespacing=1.3)
    for j, text in enumerate(top):
        middle = margin + j * (size + gap) + size / 2
        figure.text(middle / width, 1 - 0.55 * head / height, text, fontsize=7, ha="center", va="center")
    return figure


def _people(path: Path, seed: int) -> Path:
    """Subjects by activities, each subject filmed by a different camera."""
    names = sorted(ACTIVITIES)
    rows, left = [], []
    for subject, view in zip(("p00", "p03", "p05", "q02", "s00", "s02"), (*VIEWS, "oblique"), strict=True):
        session = _session(seed, subject, names, 8.0)
        video, _ = film(session, camera=view, fps=25.0, size=78, seed=seed, name="1")
        video = _clean(video)
        middles = {b.label: b.start + 0.55 * (b.end - b.start) for b in session.bouts}
        rows.append(list(video.read([_at(video.times, middles[n]) for n in names])))
        person = session.person
        kind = "slow gait" if person.weak else "general"
        left.append(f"{subject}, {view}\n{kind}\n{person['height']:.2f} m\n{person['walk_cadence']:.2f} steps/s")
    return _save(_sheet(rows, left, [n.replace("jumping_jacks", "jump. jacks") for n in names]), path, colours=96)


def _plot(axis: Any, stream: ImuStream, rows: Sequence[int], span: tuple[float, float], scale: float = 1.0) -> None:
    keep = (stream.times >= span[0]) & (stream.times < span[1])
    for colour, row in zip(_AXIS_COLOURS, rows, strict=False):
        axis.plot(stream.times[keep] - span[0], stream.values[row, keep] * scale, color=colour, lw=0.8)
    axis.set_xlim(0, span[1] - span[0])
    axis.tick_params(labelsize=6, length=2)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _traces(path: Path, seed: int) -> Path:
    """A clip of walking and of drinking above the signals of five devices."""
    from matplotlib.figure import Figure

    session = _session(seed, "p05", ("walk", "drink", "stairs_down"), 12.0)
    placements = ("right_wrist", "left_wrist", "waist", "thigh", "ankle")
    streams = wear(session, placements=placements, device="watch", seed=seed, name="1")
    video, _ = film(session, camera="oblique", fps=25.0, size=96, seed=seed, name="1")
    video = _clean(video)
    labels = ("walk", "stairs_down", "drink")
    figure = Figure(figsize=(10.5, 7.2), dpi=_DPI)
    grid = figure.add_gridspec(
        len(placements) + 1, len(labels), height_ratios=[1.25, *([1] * len(placements))], hspace=0.28, wspace=0.12
    )
    grid.update(left=0.07, right=0.99, top=0.95, bottom=0.06)
    for column, label in enumerate(labels):
        bout = next(b for b in session.bouts if b.label == label)
        span = (bout.start + 2.0, bout.start + 6.0)
        axis = figure.add_subplot(grid[0, column])
        moments = np.linspace(span[0] + 0.4, span[1] - 0.4, 5)
        axis.imshow(np.concatenate(list(video.read([_at(video.times, m) for m in moments])), axis=1), aspect="auto")
        axis.set_axis_off()
        axis.set_title(label, fontsize=8)
        for row, stream in enumerate(streams):
            axis = figure.add_subplot(grid[row + 1, column])
            _plot(axis, stream, (0, 1, 2), span)
            axis.set_ylim(-28, 28)
            if column == 0:
                axis.set_ylabel(f"{stream.placement}\nm/s²", fontsize=7)
            if row + 1 < len(placements):
                axis.set_xticklabels([])
            else:
                axis.set_xlabel("seconds", fontsize=7)
    return _save(figure, path, colours=64)


def _shifts(out: Path, seed: int) -> Path:
    """The shift axes: camera, device, population, subjects."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 7.6), dpi=_DPI)
    grid = figure.add_gridspec(4, 3, height_ratios=[1.5, 1, 1, 1.25], hspace=0.55, wspace=0.22)
    grid.update(left=0.07, right=0.985, top=0.96, bottom=0.06)
    session = _session(seed, "p05", ("walk",), 12.0)
    views = [_clean(film(session, camera=v, fps=25.0, size=200, seed=seed, name="1")[0]) for v in VIEWS]
    axis = figure.add_subplot(grid[0, :])
    axis.imshow(np.concatenate([v.read([_at(v.times, 5.0)])[0] for v in views], axis=1))
    axis.set_axis_off()
    axis.set_title(f"camera: {', '.join(VIEWS)}", fontsize=8)
    for column, device in enumerate(PROFILES):
        stream = wear(session, placements=("right_wrist",), device=device, seed=seed, name="1")[0]
        for row, (rows, unit) in enumerate((((0, 1, 2), "m/s²"), ((3, 4, 5), "rad/s"))):
            axis = figure.add_subplot(grid[1 + row, column])
            _plot(axis, stream, rows, (3.0, 6.0))
            axis.set_ylim((-22, 22) if row == 0 else (-5, 5))
            axis.set_ylabel(unit, fontsize=7)
            if row == 0:
                axis.set_title(f"device: {device}, right wrist, walking", fontsize=8)
    for column, subject in enumerate(("p05", "s00")):
        person = _session(seed, subject, ("walk",), 12.0)
        stream = wear(person, placements=("ankle",), device="research", seed=seed, name="1")[0]
        axis = figure.add_subplot(grid[3, column])
        _plot(axis, stream, (5, 3, 4), (3.0, 8.0))
        axis.set_title(f"population: {('general', 'slow_gait')[column]}, ankle, walking", fontsize=8)
        axis.set_ylabel("rad/s", fontsize=7)
        axis.set_xlabel("seconds", fontsize=7)
        axis.set_ylim(-8, 8)
    axis = figure.add_subplot(grid[3, 2])
    for prefix, population, colour in (("p", "general", "#2e86ab"), ("s", "slow_gait", "#c0392b")):
        people = [draw_person(seed, f"{prefix}{i:02d}", population) for i in range(40)]
        speed = [p["walk_cadence"] * p["walk_step"] * p["height"] for p in people]
        axis.scatter([p["walk_cadence"] for p in people], speed, s=8, color=colour, label=population)
    axis.set_title("people: 40 of each population", fontsize=8)
    axis.set_xlabel("cadence, steps/s", fontsize=7)
    axis.set_ylabel("walking speed, m/s", fontsize=7)
    axis.tick_params(labelsize=6, length=2)
    axis.legend(fontsize=6, frameon=False)
    return _save(figure, out / "world_shifts.png", colours=250)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures into the folder named on the command line.

    Raises:
        ConfigError: not exactly one argument, or matplotlib is not installed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        raise ConfigError(
            f"expected one folder, got {given}", hint="python -m imu_video.simulation.pictures docs/pictures"
        )
    for path in make_pictures(Path(given[0])):
        say(f"{path} ({path.stat().st_size // 1024} kB)")


if __name__ == "__main__":
    run(main)
