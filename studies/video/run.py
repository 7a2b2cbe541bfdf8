"""The video study: does the right video matter, and at which scale?

    python studies/video/run.py world                              # simulated subjects, in blocks
    python studies/video/run.py mocap BVH-FILES BVH-FILES          # motion capture, in blocks; one folder or more
    python studies/video/run.py data 1k5                           # join the blocks of a scale, fit and run the teacher
    python studies/video/run.py target hapt RawData                # evaluation data; also: umafall
    python studies/video/run.py row video --scale 1k5              # pretrain and export every seed of a row
    python studies/video/run.py evaluate --scale 1k5               # true pairs against the controls, few-shot
    python studies/video/run.py grid                               # all rows, scales and seeds, layer by layer
    python studies/video/run.py recipes --scale 20k                # recipes on the same data and updates
    python studies/video/run.py clips                              # the smallest scale with a teacher of rendered clips
    python studies/video/run.py utd UTD-MHAD                       # the four arms on real pairs of IMU and skeleton
    python studies/video/run.py table                              # tables and the figure, from the stored counts

Finished work is kept, so every command may be interrupted and repeated. Every command uses one CPU thread unless
OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from imu_video.errors import ConfigError
from imu_video.runtime import console
from imu_video.shards import load_index
from studies.common import CONFIGS, DryRun, Steps, known, split_name

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("video-run")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a scale adds to the next smaller one.

    Args:
        block: name of the block that it adds.
        watch: simulated subjects with the device `watch` in this block.
        research: simulated subjects with the device `research` in this block.
        takes: share of the takes of motion capture in this block and all smaller ones.
        epochs: passes of the teacher's fit over the training windows of the scale: about 80,000 windows at each scale.
    """

    block: str
    watch: int
    research: int
    takes: float
    epochs: int


SCALES = {
    "1k5": Scale(block="a", watch=6, research=5, takes=0.01875, epochs=53),
    "5k": Scale(block="b", watch=13, research=13, takes=0.0625, epochs=16),
    "20k": Scale(block="c", watch=56, research=55, takes=0.25, epochs=4),
    "80k": Scale(block="d", watch=222, research=222, takes=1.0, epochs=1),
}
"""Scale -> its last block; the name is the number of training windows, rounded."""

ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "video": ("video", ()),
    "permuted": ("video", ("data.control=permuted_pairs",)),
    "redrawn": ("video", ("data.control=redrawn_pairs",)),
    "imu": ("imu", ()),
}
"""Arm -> its row and what it changes in it."""

PLACES = {"hapt": "data/hapt", "umafall": "data/umafall", "world": "blocks/world-heldout", "utd": "data/utd-trials"}
"""Evaluation config -> data folder of the study."""

TARGETS = ("hapt", "umafall", "world")
"""What the encoders of simulated subjects and motion capture are evaluated on."""

CLIPS = ("window.clip_fps=4", "window.clip_size=64")
"""What changes in a block whose clips are rendered."""

UTD = ("data.batch_size=64", "encoder.segments=4")
"""What changes in a row on UTD-MHAD: 323 training windows of 4 s, each a gesture whose order in time matters."""

RECORDED = ("hapt", "umafall")
"""Targets with recordings; they are built by the shipped data configs."""

LAYERS: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = (
    (("1k5", "20k"), (0, 1, 2)),
    (("5k", "80k"), (0, 1, 2)),
    (("1k5", "5k", "20k", "80k"), (3, 4)),
)
"""Scales and seeds of the grid, in this order; after each layer its scales are evaluated."""

RECIPES = ("video", "info_nce", "sigmoid", "comodo", "hard_negative", "multi_device", "masked", "imu")
"""Rows that are compared as recipes."""

app = typer.Typer(
    help="The video study: does the right video matter, and at which scale?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Study = Annotated[Path, typer.Option("--study", help="Folder of data, runs, encoders and results.")]
Seeds = Annotated[str, typer.Option("--seeds", help="Pretraining seeds, separated by commas.")]
Size = Annotated[str, typer.Option("--scale", help=f"One of: {', '.join(SCALES)}.")]
Source = Annotated[
    str, typer.Option("--source", help="Pretraining data: the part of data/SOURCE-SCALE before the scale.")
]
Words = Annotated[list[str] | None, typer.Argument(help="NAME key=value ...; a changed config needs a name.")]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where one call of the runner reads and writes.

    Args:
        steps: runs the commands.
        study: folder of data, runs, encoders and results.
    """

    steps: Steps
    study: Path

    def absent(self, folder: Path, mark: str = "index.json") -> bool:
        """True if the folder is not finished; a finished one is named."""
        if (folder / mark).is_file():
            self.steps.say(f"{folder} exists")
            return False
        return True

    def build(self, config: Path, folder: Path, *overrides: str) -> None:
        """Build a data folder, unless it exists."""
        if self.absent(folder):
            self.steps.run("imu-video", "build", config, folder, *overrides)

    def encoders(self, source: str, scale: str, name: str) -> Path:
        """Folder with the encoders of a row, one per seed."""
        return self.study / "encoders" / f"{source}-{scale}" / name

    def pretrain(self, config: Path, source: str, scale: str, name: str, seed: int, overrides: Sequence[str]) -> None:
        """Pretrain and export one encoder, unless it exists."""
        out = self.encoders(source, scale, name) / f"seed{seed}"
        if not self.absent(out, "config.json"):
            return
        run = self.study / "runs" / f"{source}-{scale}" / f"{name}-{seed}"
        root = f"data.root={self.study / 'data' / f'{source}-{scale}'}"
        self.steps.run("imu-pretrain", "launch", config, root, f"seed={seed}", *overrides, "--run", run)
        self.steps.run("imu-pretrain", "export", run, out, "--checkpoint", "latest")

    def arm(self, arm: str, source: str, scale: str, seeds: Sequence[int], overrides: Sequence[str] = ()) -> None:
        """Pretrain the seeds of one arm of the grid, or of another row."""
        row, changes = ARMS.get(arm, (arm, ()))
        config = known(HERE / "rows", row, "row")
        for seed in seeds:
            self.pretrain(config, source, scale, arm, seed, (*changes, *overrides))

    def all_arms(
        self, source: str, scale: str, seeds: Sequence[int], changes: Sequence[str], teacher: str = ""
    ) -> None:
        """Pretrain the four arms seed by seed; ``teacher`` replaces that of the arms that have one."""
        for seed in seeds:
            for arm in ARMS:
                other = (f"data.teacher={teacher}",) if teacher and arm != "imu" else ()
                self.arm(arm, source, scale, (seed,), (*changes, *other))

    def few(self, target: str, encoders: Path, against: Sequence[Path], out: Path) -> None:
        """Evaluate the encoders of one row few-shot, with paired differences from those of others."""
        words: list[str | Path] = []
        for other in against:
            words += ["--against", other]
        self.steps.run(
            "imu-eval", "fewshot", encoders, self.study / PLACES[target], "--config", HERE / "eval" / f"{target}.yaml",
            *words, "--out", out,
        )  # fmt: skip

    def compare(self, source: str, scale: str, seeds: int, targets: Sequence[str] = TARGETS) -> None:
        """Evaluate true pairs against the three controls, unless this was done with as many seeds."""
        done = self.study / "results" / f"{source}-{scale}-{seeds}.jsonl"
        for target in targets:
            out = done.with_name(f"{done.stem}-{target}.jsonl")
            if self.absent(out.parent, out.name):
                controls = [self.encoders(source, scale, name) for name in ARMS if name != "video"]
                self.few(target, self.encoders(source, scale, "video"), controls, out)


def _run(study: Path, dry_run: bool) -> Run:
    return Run(steps=Steps(dry_run=dry_run, threads=1), study=study)


def _numbers(seeds: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in seeds.split(","))
    except ValueError as error:
        raise ConfigError(f"--seeds {seeds!r}: expected integers separated by commas", hint="--seeds 0,1") from error


def _scale(name: str) -> Scale:
    if name not in SCALES:
        raise ConfigError(f"unknown scale {name!r}", hint=f"one of: {', '.join(SCALES)}")
    return SCALES[name]


def _up_to(scale: str) -> list[Scale]:
    """The blocks that a scale consists of."""
    last = _scale(scale)
    found: list[Scale] = []
    for entry in SCALES.values():
        found.append(entry)
        if entry is last:
            break
    return found


def group(prefix: str, count: int, device: str) -> str:
    """Simulated subjects of one device, as an entry of ``dataset.groups``."""
    return f"{{prefix: {prefix}, count: {count}, devices: [{device}], seconds_per_activity: 8}}"


VALIDATION = (f"dataset.groups=[{group('v', 8, 'watch')}]", "splits.fractions={val: 1.0}")
"""Overrides that build the validation subjects."""


def subjects(scale: Scale) -> tuple[str, str]:
    """Overrides that build the simulated subjects of a block."""
    groups = [group(f"{scale.block}w", scale.watch, "watch"), group(f"{scale.block}r", scale.research, "research")]
    return f"dataset.groups=[{', '.join(groups)}]", "splits.fractions={train: 1.0}"


def takes(roots: Sequence[Path]) -> list[Path]:
    """BVH files of all folders in an order that depends on their names alone, so that a share of them is a sample."""
    files = [path for root in roots for path in root.rglob("*.bvh")]
    if not files:
        raise ConfigError(
            f"no .bvh file in {', '.join(map(str, roots))}", hint="name the folders of the motion capture"
        )
    return sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())


@app.command()
def world(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Build the simulated subjects: one block per scale, validation subjects, and subjects of the evaluation."""
    run, config = _run(study, dry_run), HERE / "data" / "world.yaml"
    run.build(config, study / "blocks" / "world-heldout")
    run.build(config, study / "blocks" / "world-val", *VALIDATION)
    for scale in SCALES.values():
        run.build(config, study / "blocks" / f"world-{scale.block}", *subjects(scale))


@app.command()
def mocap(
    roots: Annotated[list[Path], typer.Argument(help="Folders of BVH files.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build the motion capture: one block per scale, which links its share of the takes."""
    run, files, start = _run(study, dry_run), takes(roots), 0
    for scale in SCALES.values():
        end = round(scale.takes * len(files))
        links = study / "takes" / scale.block
        if not dry_run:
            links.mkdir(parents=True, exist_ok=True)
            for path in files[start:end]:
                link = links / path.name
                if not link.is_symlink():
                    link.symlink_to(path.resolve())
        folder = study / "blocks" / f"mocap-{scale.block}"
        run.build(HERE / "data" / "mocap.yaml", folder, f"dataset.root={links}")
        start = end


@app.command()
def data(
    scale: Annotated[str, typer.Argument(help=f"One of: {', '.join(SCALES)}.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Join the blocks of a scale, then fit and run the skeleton teacher on it."""
    run, last = _run(study, dry_run), _scale(scale)
    out = study / "data" / f"mixture-{scale}"
    names = [f"{kind}-{entry.block}" for kind in ("world", "mocap") for entry in _up_to(scale)]
    parts = [study / "blocks" / name for name in (*names, "world-val")]
    if run.absent(out):
        run.steps.run("imu-video", "merge", *parts, "--out", out, title=f"Join the blocks of {scale}")
    words = (HERE / "teacher.yaml", f"epochs={last.epochs}", "--batch-size", "64")
    run.steps.run("imu-video", "embed", out, *words, title="Fit and run the skeleton teacher")


@app.command()
def target(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECORDED)}.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build evaluation data."""
    if dataset not in RECORDED:
        raise ConfigError(f"unknown evaluation dataset {dataset!r}", hint=f"one of: {', '.join(RECORDED)}")
    config = known(CONFIGS / "data", dataset, "data config")
    _run(study, dry_run).build(config, study / PLACES[dataset], f"dataset.root={root}")


@app.command()
def row(
    config: Annotated[str, typer.Argument(help="Arm of the grid, or a name in configs/rows.")],
    words: Words = None,
    scale: Size = "1k5",
    source: Source = "mixture",
    seeds: Seeds = "0,1,2,3,4",
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain and export every seed of a row, unless it exists."""
    _scale(scale)
    name, overrides = split_name(words or [], config)
    run = _run(study, dry_run)
    if name == config:
        return run.arm(config, source, scale, _numbers(seeds))
    base, changes = ARMS.get(config, (config, ()))
    path = known(HERE / "rows", base, "row")
    for seed in _numbers(seeds):
        run.pretrain(path, source, scale, name, seed, (*changes, *overrides))


@app.command()
def evaluate(
    scale: Size = "1k5",
    source: Source = "mixture",
    seeds: Annotated[int, typer.Option("--seeds", help="Number of pretraining seeds, for the name of the file.")] = 5,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate true pairs against the three controls few-shot on every target."""
    _scale(scale)
    _run(study, dry_run).compare(source, scale, seeds)


@app.command()
def grid(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Pretrain all arms, scales and seeds, and evaluate the scales of each layer as soon as it is complete."""
    run = _run(study, dry_run)
    for scales, seeds in LAYERS:
        for scale in scales:
            run.all_arms("mixture", scale, seeds, ())
            run.compare("mixture", scale, max(seeds) + 1)


@app.command()
def recipes(
    scale: Size = "20k",
    seeds: Seeds = "0,1,2,3,4",
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain the recipes on the same data and updates, and compare all with the first one."""
    run, first = _run(study, dry_run), RECIPES[0]
    _scale(scale)
    for recipe in RECIPES:
        run.arm(recipe, "mixture", scale, _numbers(seeds))
    others = [run.encoders("mixture", scale, recipe) for recipe in RECIPES[1:]]
    for name in TARGETS:
        out = study / "results" / f"recipes-{scale}-{len(_numbers(seeds))}-{name}.jsonl"
        if run.absent(out.parent, out.name):
            run.few(name, run.encoders("mixture", scale, first), others, out)


@app.command()
def clips(seeds: Seeds = "0,1,2,3,4", study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Repeat the smallest scale with rendered clips and a frozen image network as the teacher; after `mocap`."""
    run, numbers, out = _run(study, dry_run), _numbers(seeds), study / "data" / "clips-1k5"
    first, blocks = SCALES["1k5"], study / "blocks"
    parts = [blocks / f"clips-{name}" for name in ("world-a", "mocap-a", "world-val")]
    run.build(HERE / "data" / "world.yaml", parts[0], *subjects(first), *CLIPS)
    run.build(HERE / "data" / "mocap.yaml", parts[1], f"dataset.root={study / 'takes' / first.block}", *CLIPS)
    run.build(HERE / "data" / "world.yaml", parts[2], *VALIDATION, *CLIPS)
    if run.absent(out):
        run.steps.run("imu-video", "merge", *parts, "--out", out)
    run.steps.run("imu-video", "embed", out, CONFIGS / "teacher" / "efficientnet_lite0_fast.yaml")
    run.all_arms("clips", "1k5", numbers, (), teacher="frames")
    run.compare("clips", "1k5", len(numbers))


@app.command()
def utd(
    root: Annotated[Path, typer.Argument(help="Folder of the recordings, UTD-MHAD.")],
    seeds: Seeds = "0,1,2,3,4",
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain the four arms on the training subjects of UTD-MHAD, and evaluate them on its test subjects."""
    run, numbers, out = _run(study, dry_run), _numbers(seeds), study / PLACES["utd"]
    run.build(CONFIGS / "data" / "utd_mhad.yaml", out, f"dataset.root={root}", "window.clip_fps=null")
    run.steps.run("imu-video", "embed", out, CONFIGS / "teacher" / "skeleton.yaml", "--batch-size", "64")
    run.all_arms("utd", "trials", numbers, UTD)
    run.compare("utd", "trials", len(numbers), ("utd",))


@app.command()
def table(
    source: Source = "mixture",
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Write STUDY/tables-SOURCE.md and STUDY/scale-SOURCE.svg from all result files with the most seeds."""
    from studies.video import tables

    run, folder = _run(study, dry_run), study / "results"
    files = tables.result_files(folder, source)
    if not files:
        raise ConfigError(f"{folder} holds no results of {source}", hint="python studies/video/run.py grid")
    run.steps.say(f"Write the tables of {len(files)} result files")
    if dry_run:
        return
    order = [*SCALES, "trials"]
    found = tables.rows(files, order)
    scales = [scale for scale in order if any(row.scale == scale for row in found)]
    windows = {scale: load_index(study / "data" / f"{source}-{scale}").split("train").samples for scale in scales}
    page = [
        "## Macro-F1\n", tables.values_table(found),
        "## True pairs minus each other arm\n", tables.contrasts_table(found),
        "## Excluded effects: true minus permuted pairs\n", tables.excluded_table(tables.primary(found), "permuted"),
        "## Excluded effects: true pairs minus IMU only\n", tables.excluded_table(tables.primary(found), "imu"),
        "## Retrieval on validation subjects\n", tables.retrieval_table(study / "runs", source, order),
    ]  # fmt: skip
    for scale in SCALES if source == "mixture" else ():
        for number in (5, 4, 3, 2):
            paths = {name: folder / f"recipes-{scale}-{number}-{name}.jsonl" for name in TARGETS}
            if all(path.is_file() for path in paths.values()):
                page += [f"## Recipes on {scale} windows, {number} pretraining seeds\n", tables.recipes_table(paths)]
                break
    (study / f"tables-{source}.md").write_text("\n".join(page))
    if len(scales) > 1:
        (study / f"scale-{source}.svg").write_bytes(tables.figure(found, windows, shots=5))


if __name__ == "__main__":
    console.run(app)
