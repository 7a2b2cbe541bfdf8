"""The video study: does the right video matter, and at which scale?

    python studies/video/run.py world                              # simulated subjects, in blocks
    python studies/video/run.py mocap BVH-FILES BVH-FILES          # motion capture, in blocks; one folder or more
    python studies/video/run.py data 1k5                           # join the blocks of a scale, fit and run the teacher
    python studies/video/run.py target hapt RawData                # evaluation data; also: umafall, pdiot, wisdm51
    python studies/video/run.py row video --scale 1k5              # pretrain and export every seed of a row
    python studies/video/run.py evaluate --scale 1k5               # true pairs against the controls, few-shot
    python studies/video/run.py grid                               # all rows, scales and seeds, layer by layer
    python studies/video/run.py recipes --scale 20k                # recipes on the same data and updates
    python studies/video/run.py further                            # the largest scale on further real sensors
    python studies/video/run.py clips                              # the smallest scale with a teacher of rendered clips
    python studies/video/run.py utd UTD-MHAD                       # the four arms on real pairs of IMU and skeleton
    python studies/video/run.py table                              # tables and the figure, from the stored counts
    python studies/video/run.py all --mocap BVH-FILES --hapt RawData ...     # all of it; --help lists the folders

Finished work is kept, so every command may be interrupted and repeated. Every command uses one CPU thread unless
OMP_NUM_THREADS is set. results.md holds the results, design.py the scales, arms and recipes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the modules that the studies share

from imu_video.errors import ConfigError
from imu_video.runtime import console
from imu_video.shards import load_index
from studies.common import CONFIGS, DryRun, Steps, StudyFolder, integers, known, split_name
from studies.video import design
from studies.video.design import ARMS, LARGEST, PLACES, RECIPES, SCALES, SMALLEST, TARGETS, TRIALS, TRUE

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("video-run")
SEEDS = "0,1,2,3,4"

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


class Run(StudyFolder):
    """The study's folder with its names: pretraining data, encoders of a row, and evaluations."""

    def join(self, source: str, scale: str, parts: Sequence[Path], teacher: Path, *words: str) -> None:
        """Join data folders to pretraining data, unless they are, and compute the teacher's features."""
        out = self.folder / "data" / f"{source}-{scale}"
        self.merge(parts, out, f"Join the blocks of {scale}")
        self.steps.run("imu-video", "embed", out, teacher, *words, title="Compute the features of the teacher")

    def encoders(self, source: str, scale: str, name: str) -> Path:
        """Folder with the encoders of a row, one per seed."""
        return self.folder / "encoders" / f"{source}-{scale}" / name

    def pretrain(
        self, arm: str, source: str, scale: str, seeds: Sequence[int], changes: Sequence[str] = (), name: str = ""
    ) -> None:
        """Pretrain and export the seeds of an arm or another row that do not exist, under its or another name."""
        row, own = ARMS.get(arm, (arm, ()))
        config, name = known(HERE / "rows", row, "row"), name or arm
        root = f"data.root={self.folder / 'data' / f'{source}-{scale}'}"
        for seed in seeds:
            out = self.encoders(source, scale, name) / f"seed{seed}"
            run = self.folder / "runs" / f"{source}-{scale}" / f"{name}-{seed}"
            self.train(config, run, out, (root, f"seed={seed}", *own, *changes))

    def all_arms(
        self, source: str, scale: str, seeds: Sequence[int], changes: Sequence[str] = (), teacher: str = ""
    ) -> None:
        """Pretrain the four arms seed by seed; ``teacher`` replaces that of the arms that have one."""
        for seed in seeds:
            for arm in ARMS:
                other = (f"data.teacher={teacher}",) if teacher and arm != "imu" else ()
                self.pretrain(arm, source, scale, (seed,), (*changes, *other))

    def compare(
        self,
        name: str,
        seeds: int,
        encoders: Path,
        against: Sequence[Path] = (),
        targets: Sequence[str] = TARGETS,
    ) -> None:
        """Evaluate encoders few-shot, with paired differences, unless this was done with as many seeds."""
        for target in targets:
            out = self.folder / "results" / f"{name}-{seeds}-{target}.jsonl"
            config = HERE / "eval" / f"{target}.yaml"
            self.few(encoders, self.folder / PLACES[target], config, against, out)

    def compare_arms(
        self,
        source: str,
        scale: str,
        seeds: int,
        targets: Sequence[str] = TARGETS,
        others: Sequence[Path] = (),
        name: str = "",
    ) -> None:
        """Evaluate true pairs against the three controls and other encoders; ``name`` begins the result files."""
        true, *controls = (self.encoders(source, scale, arm) for arm in ARMS)
        self.compare(name or f"{source}-{scale}", seeds, true, (*controls, *others), targets)


def _run(study: Path, dry_run: bool) -> Run:
    return Run(steps=Steps(dry_run=dry_run, threads=1), folder=study)


@app.command()
def world(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Build the simulated subjects: one block per scale, validation subjects, and subjects of the evaluation."""
    run, config = _run(study, dry_run), HERE / "data" / "world.yaml"
    run.build(config, study / "blocks" / "world-heldout")
    run.build(config, study / "blocks" / "world-val", *design.VALIDATION)
    for scale in SCALES.values():
        run.build(config, study / "blocks" / f"world-{scale.block}", *scale.subjects)


@app.command()
def mocap(
    roots: Annotated[list[Path], typer.Argument(help="Folders of BVH files.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build the motion capture: one block per scale, which links its share of the takes."""
    run, files, start = _run(study, dry_run), design.takes(roots), 0
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
    run, scales = _run(study, dry_run), design.up_to(scale)
    names = [f"{kind}-{entry.block}" for kind in ("world", "mocap") for entry in scales]
    parts = [study / "blocks" / name for name in (*names, "world-val")]
    epochs = f"epochs={scales[-1].epochs}"
    run.join("mixture", scale, parts, HERE / "teacher.yaml", epochs, "--batch-size", "64")


@app.command()
def target(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(design.CONFIG_OF)}.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build evaluation data."""
    if dataset not in design.CONFIG_OF:
        raise ConfigError(f"unknown evaluation dataset {dataset!r}", hint=f"one of: {', '.join(design.CONFIG_OF)}")
    config = known(CONFIGS / "data", design.CONFIG_OF[dataset], "data config")
    _run(study, dry_run).build(config, study / PLACES[dataset], f"dataset.root={root}")


@app.command()
def row(
    config: Annotated[str, typer.Argument(help="Arm of the grid, or a name in configs/rows.")],
    words: Words = None,
    scale: Size = SMALLEST,
    source: Source = "mixture",
    seeds: Seeds = SEEDS,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain and export every seed of a row, unless it exists."""
    design.scale_named(scale)
    name, overrides = split_name(words or [], config)
    _run(study, dry_run).pretrain(config, source, scale, integers(seeds), overrides, name)


@app.command()
def evaluate(
    scale: Size = SMALLEST,
    source: Source = "mixture",
    seeds: Annotated[int, typer.Option("--seeds", help="Number of pretraining seeds, for the name of the file.")] = 5,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate true pairs against the three controls few-shot on every target."""
    design.scale_named(scale)
    _run(study, dry_run).compare_arms(source, scale, seeds)


@app.command()
def grid(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Pretrain all arms, scales and seeds, and evaluate the scales of each layer as soon as it is complete."""
    run = _run(study, dry_run)
    for scales, seeds in design.LAYERS:
        for scale in scales:
            run.all_arms("mixture", scale, seeds)
            run.compare_arms("mixture", scale, max(seeds) + 1)


@app.command()
def recipes(
    scale: Size = "20k",
    seeds: Seeds = SEEDS,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain the recipes on the same data and updates, and evaluate each one; after the `grid` at this scale."""
    run, numbers = _run(study, dry_run), integers(seeds)
    design.scale_named(scale)
    for recipe in RECIPES:
        if recipe not in ARMS:
            run.pretrain(recipe, "mixture", scale, numbers)
            run.compare(f"{recipe}-{scale}", len(numbers), run.encoders("mixture", scale, recipe))


@app.command()
def further(seeds: Seeds = SEEDS, study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Evaluate the arms of the largest scale on real sensors that the grid is not evaluated on; after `grid`."""
    run, numbers = _run(study, dry_run), integers(seeds)
    run.compare_arms("mixture", LARGEST, len(numbers), design.FURTHER, name=f"further-{LARGEST}")


@app.command()
def clips(seeds: Seeds = SEEDS, study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Repeat the smallest scale with rendered clips and a frozen image network as the teacher; after `data 1k5`.

    The skeleton teacher's encoders of the same windows are evaluated beside them, and pretrained if they do not exist.
    """
    run, numbers, blocks = _run(study, dry_run), integers(seeds), study / "blocks"
    first = SCALES[SMALLEST]
    parts = [blocks / f"clips-{name}" for name in (f"world-{first.block}", f"mocap-{first.block}", "world-val")]
    run.build(HERE / "data" / "world.yaml", parts[0], *first.subjects, *design.CLIPS)
    links = study / "takes" / first.block
    run.build(HERE / "data" / "mocap.yaml", parts[1], f"dataset.root={links}", *design.CLIPS)
    run.build(HERE / "data" / "world.yaml", parts[2], *design.VALIDATION, *design.CLIPS)
    run.join("clips", SMALLEST, parts, CONFIGS / "teacher" / "efficientnet_lite0_fast.yaml")
    run.all_arms("clips", SMALLEST, numbers, teacher="frames")
    run.pretrain(TRUE, "mixture", SMALLEST, numbers)
    run.compare_arms("clips", SMALLEST, len(numbers), others=[run.encoders("mixture", SMALLEST, TRUE)])


@app.command()
def utd(
    root: Annotated[Path, typer.Argument(help="Folder of the recordings, UTD-MHAD.")],
    seeds: Seeds = SEEDS,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain the four arms on the training subjects of UTD-MHAD, and evaluate them on its test subjects."""
    run, numbers, out = _run(study, dry_run), integers(seeds), study / PLACES["utd"]
    run.build(CONFIGS / "data" / "utd_mhad.yaml", out, f"dataset.root={root}", "window.clip_fps=null")
    run.steps.run("imu-video", "embed", out, CONFIGS / "teacher" / "skeleton.yaml", "--batch-size", "64")
    run.all_arms("utd", TRIALS, numbers, design.UTD)
    run.compare_arms("utd", TRIALS, len(numbers), ("utd",))


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
    order = (*SCALES, TRIALS)
    found = tables.rows(files, order)
    page = tables.page(found, study / "runs", source, order)
    if source == "mixture":
        page += tables.further_page(folder, order) + tables.recipes_page(folder, order)
    (study / f"tables-{source}.md").write_text(page)
    windows = {row.scale: load_index(study / "data" / f"{source}-{row.scale}").split("train").samples for row in found}
    if len(windows) > 1:
        (study / f"scale-{source}.svg").write_bytes(tables.figure(found, windows, shots=5))


@app.command(name="all")
def everything(
    mocap_roots: Annotated[list[Path], typer.Option("--mocap", help="Folder of BVH files; may be repeated.")],
    hapt: Annotated[Path, typer.Option("--hapt", help="Folder of the recordings, HAPT.")],
    umafall: Annotated[Path, typer.Option("--umafall", help="Folder of the recordings, UMAFall.")],
    pdiot: Annotated[Path, typer.Option("--pdiot", help="Folder of the recordings, PDIoT.")],
    wisdm51: Annotated[Path, typer.Option("--wisdm51", help="Folder of the recordings, WISDM51, watch.")],
    utd_root: Annotated[Path, typer.Option("--utd", help="Folder of the recordings, UTD-MHAD.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Run all steps in their order, with five seeds, and write all tables."""
    world(study=study, dry_run=dry_run)
    mocap(mocap_roots, study=study, dry_run=dry_run)
    for scale in SCALES:
        data(scale, study=study, dry_run=dry_run)
    roots = {"hapt": hapt, "umafall": umafall, "pdiot": pdiot, "wisdm51": wisdm51}
    for name, root in roots.items():
        target(name, root, study=study, dry_run=dry_run)
    grid(study=study, dry_run=dry_run)
    further(study=study, dry_run=dry_run)
    recipes(study=study, dry_run=dry_run)
    clips(study=study, dry_run=dry_run)
    utd(utd_root, study=study, dry_run=dry_run)
    for source in ("mixture", "clips", "utd"):
        if not dry_run:
            table(source, study=study)


if __name__ == "__main__":
    console.run(app)
