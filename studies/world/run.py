"""Simulated against real windows of the same activity and placement, before and after domain randomisation.

python studies/world/run.py compare --data ../shared/data --out world-run
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from imu_video.registry import datasets
from imu_video.runtime import console
from imu_video.simulation.person import draw_person
from imu_video.simulation.randomise import DeviceRanges, ImpactRanges, Randomise, StrapRanges
from imu_video.simulation.sensors import PROFILES
from imu_video.simulation.session import Session, simulate
from imu_video.simulation.world import dress
from imu_video.types import Recording

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from studies.world.distance import bandwidth, intervals, kernels  # noqa: E402
from studies.world.features import Window, bands, names, table, windows  # noqa: E402
from studies.world.walk import yardstick  # noqa: E402

app = typer.Typer(add_completion=False, no_args_is_help=True)

DATA = Path("../shared/data")
ACTIVITIES = ("walk", "jog", "stairs_up", "stairs_down", "sit", "stand", "lie")
SIMULATED = {**{a: a for a in ACTIVITIES}, "stairs_up": "stairs", "stairs_down": "stairs"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One placement of a real dataset and its simulated counterpart.

    Args:
        dataset: registered name.
        folder: of its files, in the folder of all data.
        placement: name of the real stream.
        simulated: name of the simulated placement.
        rate_hz: of the windows and of the simulated devices.
        classes: label of the dataset -> class.
        gyroscope: whether angular rates are compared.
        seconds: window length.
        subjects: most subjects that are read.
    """

    dataset: str
    folder: str
    placement: str
    simulated: str
    rate_hz: float
    classes: dict[str, str]
    gyroscope: bool = True
    seconds: float = 4.0
    subjects: int = 20

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.placement}"


_UMAFALL = {"walking": "walk", "jogging": "jog", "going_upstairs": "stairs", "going_downstairs": "stairs"}
_PDIOT = {
    "walking": "walk",
    "running": "jog",
    "ascending_stairs": "stairs",
    "descending_stairs": "stairs",
    "sitting": "sit",
    "standing": "stand",
    **{f"lying_{side}": "lie" for side in ("back", "left", "right", "stomach")},
}
_HAPT = {
    "walking": "walk",
    "walking_upstairs": "stairs",
    "walking_downstairs": "stairs",
    "sitting": "sit",
    "standing": "stand",
    "laying": "lie",
}
_WISDM = {"walking": "walk", "jogging": "jog", "stairs": "stairs", "sitting": "sit", "standing": "stand"}
_SP_SW = {"walking": "walk", "seated": "sit"}
SOURCES = (
    Source(dataset="hapt", folder="uci-hapt", placement="waist", simulated="waist", rate_hz=50.0, classes=_HAPT),
    *(
        Source(dataset="umafall", folder="umafall", placement=p, simulated=s, rate_hz=20.0, classes=_UMAFALL)
        for p, s in (("chest", "chest"), ("waist", "waist"), ("wrist", "right_wrist"), ("ankle", "ankle"))
    ),
    Source(
        dataset="umafall", folder="umafall", placement="right_pocket", simulated="thigh", rate_hz=100.0,
        classes=_UMAFALL, gyroscope=False,
    ),
    *(
        Source(
            dataset="sp_sw_har", folder="sp-sw-har", placement=p, simulated=s, rate_hz=100.0, classes=_SP_SW,
            seconds=2.0,
        )
        for p, s in (("pocket", "thigh"), ("wrist", "right_wrist"))
    ),
    *(
        Source(dataset="pdiot", folder="pdiot-2023", placement=p, simulated=s, rate_hz=25.0, classes=_PDIOT)
        for p, s in (("chest", "chest"), ("pocket", "thigh"))
    ),
    Source(
        dataset="wisdm51_watch", folder="wisdm51-watch", placement="wrist", simulated="right_wrist", rate_hz=20.0,
        classes=_WISDM, gyroscope=False,
    ),
)  # fmt: skip
"""SP-SW-HAR is part of training mixtures; the others are evaluation sets: ranges are not fitted to any of them."""


def arms(rate_hz: float, seed: int) -> dict[str, Randomise]:
    """Simulations by name, all with devices of one rate: today's fixed one, each item alone, all items."""
    watch = PROFILES["watch"]
    nearly_none = (1e-9, 1e-9)
    fixed = DeviceRanges(
        rate_hz=(rate_hz, rate_hz),
        acc_range_g=[8.0],
        gyr_range_deg_s=[2000.0],
        acc_step=(watch.acc_step, watch.acc_step),
        gyr_step=(watch.gyr_step, watch.gyr_step),
        acc_noise=(watch.acc_noise, watch.acc_noise),
        gyr_noise=(watch.gyr_noise, watch.gyr_noise),
        acc_bias=(watch.acc_bias, watch.acc_bias),
        gyr_bias=(watch.gyr_bias, watch.gyr_bias),
        scale_error=(watch.scale_error, watch.scale_error),
        cross_axis=nearly_none,
        jitter=(watch.jitter, watch.jitter),
        drift=(watch.drift, watch.drift),
        losses_per_minute=(watch.losses_per_minute, watch.losses_per_minute),
        cut_off=(watch.cut_off, watch.cut_off),
        mount_deg=(float(np.rad2deg(watch.mount)),) * 2,
        slack_deg=(float(np.rad2deg(watch.slack)),) * 2,
        flip=watch.flip,
    )
    before = Randomise(seed=seed, mount=False, strap=None, motion=None, device=fixed)
    drawn = DeviceRanges(rate_hz=(rate_hz, rate_hz))
    return {
        "before": before,
        "place": before.model_copy(update={"mount": True}),
        "strap": before.model_copy(update={"strap": StrapRanges()}),
        "device": before.model_copy(update={"device": drawn}),
        "after": Randomise(seed=seed, motion=None, device=drawn),
        "impacts": Randomise(seed=seed, motion=None, device=drawn, impacts=ImpactRanges()),
    }


def sessions(subjects: int, seed: int) -> Iterator[tuple[str, str, Session]]:
    """Subject, session and motion: two sessions per subject, seven activities of 20 s each."""
    for number in range(subjects):
        person = draw_person(seed, f"p{number:02d}")
        for session in ("1", "2"):
            yield (
                person.name,
                session,
                simulate(person, activities=ACTIVITIES, seconds_per_activity=20.0, seed=seed, session=session),
            )


def simulated_windows(source: Source, seed: int, motions: list[tuple[str, str, Session]]) -> dict[str, list[Window]]:
    """Windows of every arm at the counterpart of a real placement."""
    out: dict[str, list[Window]] = {}
    for arm, randomise in arms(source.rate_hz, seed).items():
        found = []
        for subject, session, motion in motions:
            worn = dress(
                motion, placements=[source.simulated], device="random", seed=seed, name=session, randomise=randomise
            )
            recording = Recording(
                dataset="synthetic",
                subject=subject,
                name=f"{subject}-{session}",
                imu=worn.imu,
                segments=motion.segments,
            )
            found += windows(
                [recording],
                source.simulated,
                rate_hz=source.rate_hz,
                seconds=source.seconds,
                classes=SIMULATED,
                per_recording=True,
            )
        out[arm] = found
    return out


def real_windows(source: Source, data: Path) -> list[Window]:
    """Windows of a real placement."""
    adapter: Any = datasets.build({"name": source.dataset, "root": str(data / source.folder)})
    chosen = adapter.subjects()[: source.subjects]
    worn = (
        replace(r, imu=tuple(d for d in r.imu if d.placement == source.placement), streams={})
        for r in adapter.recordings(chosen)
        if any(d.placement == source.placement for d in r.imu)
    )
    return windows(
        worn,
        source.placement,
        rate_hz=source.rate_hz,
        seconds=source.seconds,
        classes=source.classes,
        per_recording=False,
        limit=10,
    )


def compared(source: Source, real: list[Window], simulated: dict[str, list[Window]]) -> list[dict[str, Any]]:
    """Rows of one source: discrepancy of every class and arm, and differences of the medians."""
    rate, gyroscope = source.rate_hz, source.gyroscope
    real = [w for w in real if not gyroscope or len(w.values) == 6]
    tables = {"real": table(real, rate, gyroscope=gyroscope)}
    groups = {"real": real, **simulated}
    tables.update({arm: table(found, rate, gyroscope=gyroscope) for arm, found in simulated.items()})
    scale = tables["real"].std(axis=0) + 1e-9
    rows = []
    for label in sorted({w.label for w in real}):
        by = {arm: _by_subject(tables[arm], found, label) for arm, found in groups.items()}
        if len(by["real"]) < 5:
            continue
        raw = {arm: np.concatenate(list(subjects.values())) for arm, subjects in by.items()}
        standard = {arm: {s: x / scale for s, x in subjects.items()} for arm, subjects in by.items()}
        width = bandwidth(np.concatenate([x / scale for x in raw.values()]))
        kernel = {arm: kernels(standard["real"], standard[arm], width) for arm in simulated}
        medians = {arm: np.median(x, axis=0) for arm, x in raw.items()}
        spread = {arm: np.subtract(*np.percentile(x, [75, 25], axis=0)) for arm, x in raw.items()}
        rows.append(
            {
                "source": source.name,
                "class": label,
                "subjects": len(by["real"]),
                "windows": len(raw["real"]),
                "simulated_subjects": len(by["before"]),
                "columns": names(rate, gyroscope),
                "mmd": intervals(kernel, against="before"),
                "median": {arm: m.tolist() for arm, m in medians.items()},
                "iqr": {arm: s.tolist() for arm, s in spread.items()},
            }
        )
    return rows


def _by_subject(rows: np.ndarray, found: list[Window], label: str) -> dict[str, np.ndarray]:
    """Subject -> its rows (N, D) of one class."""
    out = {}
    for subject in sorted({w.subject for w in found if w.label == label}):
        out[subject] = rows[[(w.subject, w.label) == (subject, label) for w in found]]
    return out


@app.command()
def compare(
    data: Annotated[Path, typer.Option(help="Folder of the real recordings, unpacked.")] = DATA,
    out: Annotated[Path, typer.Option(help="Output folder: one JSON file per source.")] = Path("world-run"),
    subjects: Annotated[int, typer.Option(help="Simulated subjects.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of subjects and draws.")] = 0,
) -> None:
    """Compare every real placement with its simulated counterpart; sources that exist are skipped."""
    out.mkdir(parents=True, exist_ok=True)
    motions: list[tuple[str, str, Session]] = []
    for source in SOURCES:
        path = out / f"{source.name.replace(' ', '-')}.json"
        if path.is_file() or not (data / source.folder).is_dir():
            console.say(f"{source.name}: {'done' if path.is_file() else f'no folder {data / source.folder}'}")
            continue
        motions = motions or list(sessions(subjects, seed))
        rows = compared(source, real_windows(source, data), simulated_windows(source, seed, motions))
        path.write_text(json.dumps(rows, indent=1))
        console.say(f"{source.name}: {len(rows)} classes")


@app.command()
def walk(
    data: Annotated[Path, typer.Option(help="Folder of the real recordings, unpacked.")] = DATA,
    seed: Annotated[int, typer.Option(help="Seed of the drawn straps.")] = 0,
    draws: Annotated[int, typer.Option(help="Drawn straps per segment.")] = 20,
) -> None:
    """Correlate virtual and worn sensors of one walk with optical capture, on rigid mounts and on straps."""
    for line in yardstick(data / "xsens-vicon-walk", seed=seed, draws=draws):
        console.say(line)


def _interval(three: list[float]) -> str:
    return f"{three[0]:.2f} [{three[1]:.2f}, {three[2]:.2f}]"


@app.command()
def report(out: Annotated[Path, typer.Argument(help="Output folder of `compare`.")] = Path("world-run")) -> None:
    """Print the tables of results.md."""
    rows = [row for path in sorted(out.glob("*.json")) for row in json.loads(path.read_text())]
    console.say("| source | class | real subjects | windows | before | after | impacts | after - before |")
    console.say("|---|---|---|---|---|---|---|---|")
    for row in rows:
        found = row["mmd"]
        console.say(
            f"| {row['source']} | {row['class']} | {row['subjects']} | {row['windows']} | "
            f"{' | '.join(_interval(found[arm]['mmd2']) for arm in ('before', 'after', 'impacts'))} | "
            f"{_interval(found['after']['difference'])} |"
        )
    console.say("")
    console.say("| simulation | mean MMD^2 | nearer than before, interval below 0 | farther, interval above 0 | of |")
    console.say("|---|---|---|---|---|")
    for arm in rows[0]["mmd"]:
        mean = np.mean([row["mmd"][arm]["mmd2"][0] for row in rows])
        nearer = sum(row["mmd"][arm]["difference"][2] < 0 for row in rows)
        farther = sum(row["mmd"][arm]["difference"][1] > 0 for row in rows)
        console.say(f"| {arm} | {mean:.3f} | {nearer} | {farther} | {len(rows)} |")
    console.say("")
    _statistics(rows, ("before", "after", "impacts"), "median")
    _statistics(rows, ("real", "before", "after", "impacts"), "iqr")


def _statistics(rows: list[dict[str, Any]], shown: tuple[str, ...], what: str) -> None:
    """Statistics by class, averaged over sources: simulated minus real medians, or the spreads."""
    columns = [*(f"{s} {a:g}-{b:g} Hz" for s in ("acc", "gyr") for a, b in bands(100.0)), "jerk", "tilt", "mean size"]
    console.say(f"| class | simulation | {' | '.join(columns)} |")
    console.say(f"|---|---|{'---|' * len(columns)}")
    for label in sorted({row["class"] for row in rows}):
        for arm in shown:
            cells = []
            for column in columns:
                values = [
                    row[what][arm][row["columns"].index(column)]
                    - (row[what]["real"][row["columns"].index(column)] if what == "median" else 0.0)
                    for row in rows
                    if row["class"] == label and column in row["columns"]
                ]
                cells.append(f"{np.mean(values):.2f}" if values else "-")
            console.say(f"| {label} | {arm} | {' | '.join(cells)} |")
    console.say("")


if __name__ == "__main__":
    app()
