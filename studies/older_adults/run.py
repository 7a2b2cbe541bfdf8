"""The study of older adults: cross-modal pretraining with the young as unlabelled IMU, against IMU only and scratch.

    python studies/older_adults/run.py data UTD-MHAD SMARTFALLMM   # after `world` and `mocap` of studies/video/run.py
    python studies/older_adults/run.py target smartfallmm SMARTFALLMM    # also: umafall, daphnet
    python studies/older_adults/run.py grid                        # pretrain all arms and seeds
    python studies/older_adults/run.py evaluate                    # few-shot, frozen, ridge
    python studies/older_adults/run.py zeroshot                    # labels of the young, and by text
    python studies/older_adults/run.py table                       # STUDY/tables.md, from the stored counts

Finished work is kept, so every command may be interrupted and repeated. Every command uses one CPU thread unless
OMP_NUM_THREADS is set. results.md holds the results.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share

from eval.results import Result, read_results
from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, ROOT, DryRun, Steps, StudyFolder, integers, known, roots

HERE = Path(__file__).resolve().parent / "configs"
STUDY = Path("older-run")
VIDEO = Path("video-run")

BLOCKS = ("world-a", "world-b", "mocap-a", "mocap-b", "world-val")
"""Blocks of the video study in the paired folder: those of its scale 5k."""
EPOCHS = 12
"""Passes of the teacher's fit: about 80,000 windows, as in the video study."""

ARMS: dict[str, tuple[str, bool, tuple[str, ...]]] = {
    "cross_young": ("cross", True, ()),
    "cross": ("cross", False, ()),
    "imu": ("imu", True, ()),
    "permuted": ("cross", True, ("data.control=permuted_pairs",)),
    "text": ("text", True, ()),
}
"""Arm -> its row, whether the young are in the mixture, and what it changes in the row; the first one is compared."""
FIRST = "cross-modal + young"
"""Name in tables of the arm that is compared."""
COMPARED = ("cross", "imu", "permuted", "text")
"""Arms that are subtracted from the first one."""
SHIPPED = ("imu-video/small", "imu-video/base")

TARGETS = {"smartfallmm": "older", "umafall": "umafall", "daphnet": "daphnet"}
"""Data set -> evaluation config of its target; UMAFall has a second one, `umafall_older`."""
EVALUATIONS = {"older": "smartfallmm", "umafall": "umafall", "umafall_older": "umafall", "daphnet": "daphnet"}
"""Evaluation config -> data set."""

app = typer.Typer(
    help="The study of older adults: cross-modal pretraining against IMU only and from scratch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Study = Annotated[Path, typer.Option("--study", help="Folder of data, runs, encoders and results.")]
Seeds = Annotated[str, typer.Option("--seeds", help="Pretraining seeds, separated by commas.")]


class Run(StudyFolder):
    """The study's folder with its names."""

    @property
    def paired(self) -> Path:
        """Folder of the windows with skeletons."""
        return self.folder / "data" / "paired"

    def encoders(self, arm: str) -> Path:
        """Folder with the encoders of an arm, one per seed."""
        return self.folder / "encoders" / arm

    def arm(self, arm: str, seed: int) -> None:
        """Pretrain and export one encoder, unless it exists."""
        row, young, changes = ARMS[arm]
        folders = [(self.paired, 2, True), *([(self.folder / "data" / "young", 1, False)] if young else [])]
        words = (roots(folders), f"seed={seed}", *changes)
        self.train(
            known(HERE / "rows", row, "row"),
            self.folder / "runs" / f"{arm}-{seed}",
            self.encoders(arm) / f"seed{seed}",
            words,
        )


def _run(study: Path, dry_run: bool) -> Run:
    return Run(steps=Steps(dry_run=dry_run, threads=1), folder=study)


def _chosen(arms: Sequence[str] | None) -> list[str]:
    unknown = sorted(set(arms or ()) - set(ARMS))
    if unknown:
        raise ConfigError(f"unknown arm {unknown[0]!r}", hint=f"one of: {', '.join(ARMS)}")
    return [arm for arm in ARMS if not arms or arm in arms]


@app.command()
def data(
    utd: Annotated[Path, typer.Argument(help="Folder of the recordings, UTD-MHAD.")],
    smartfallmm: Annotated[Path, typer.Argument(help="Folder of the recordings, SmartFallMM.")],
    video: Annotated[Path, typer.Option("--video", help="Folder of the video study, with its blocks.")] = VIDEO,
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build the paired folder, fit and run its skeleton teacher, and build the young as unlabelled IMU."""
    run = _run(study, dry_run)
    own = study / "blocks" / "utd"
    run.build(HERE / "data" / "utd_mhad.yaml", own, f"dataset.root={utd}")
    run.merge([*(video / "blocks" / name for name in BLOCKS), own], run.paired, "Join the paired windows")
    teacher = ROOT / "studies" / "video" / "configs" / "teacher.yaml"
    words = (run.paired, teacher, f"epochs={EPOCHS}", "--batch-size", "64")
    run.steps.run("imu-video", "embed", *words, title="Fit and run the skeleton teacher")
    run.build(HERE / "data" / "young.yaml", study / "data" / "young", f"dataset.root={smartfallmm}")


@app.command()
def target(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(TARGETS)}.")],
    root: Annotated[Path, typer.Argument(help="Folder of the recordings.")],
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Build evaluation data with its shipped config."""
    if dataset not in TARGETS:
        raise ConfigError(f"unknown evaluation dataset {dataset!r}", hint=f"one of: {', '.join(TARGETS)}")
    config = known(CONFIGS / "data", dataset, "data config")
    _run(study, dry_run).build(config, study / "targets" / dataset, f"dataset.root={root}")


@app.command()
def grid(
    arms: Annotated[list[str] | None, typer.Argument(help=f"Arms; none: {', '.join(ARMS)}.")] = None,
    seeds: Seeds = "0,1,2,3,4",
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Pretrain and export all arms, seed by seed."""
    run, chosen = _run(study, dry_run), _chosen(arms)
    for seed in integers(seeds):
        for arm in chosen:
            run.arm(arm, seed)


@app.command()
def evaluate(
    targets: Annotated[list[str] | None, typer.Argument(help=f"Of: {', '.join(EVALUATIONS)}; none: all.")] = None,
    arms: Annotated[str, typer.Option("--arms", help="Arms to compare with, separated by commas.")] = ",".join(
        COMPARED
    ),
    study: Study = STUDY,
    dry_run: DryRun = False,
) -> None:
    """Evaluate the first arm few-shot, against other arms and the shipped encoders."""
    run, compared = _run(study, dry_run), _chosen(arms.split(","))
    for name in targets or EVALUATIONS:
        config = known(HERE / "eval", name, "evaluation")
        others = [*(run.encoders(arm) for arm in compared if arm != "cross_young"), *SHIPPED]
        where = study / "targets" / EVALUATIONS[name]
        run.few(run.encoders("cross_young"), where, config, others, study / "results" / f"{name}.jsonl")


@app.command()
def zeroshot(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Evaluate on the older adults without their labels: with labels of the young, and by text alone."""
    run, where = _run(study, dry_run), study / "targets" / "smartfallmm"
    config = HERE / "eval" / "zeroshot.yaml"
    for arm in ("cross_young", "cross", "imu", "permuted", *SHIPPED):
        out = study / "results" / f"zeroshot-source-{Path(arm).name}.jsonl"
        if run.absent(out):
            encoder = arm if arm in SHIPPED else run.encoders(arm)
            words = ("--mode", "source", "--source", where, "--config", config, "--out", out)
            run.steps.run("imu-eval", "zeroshot", encoder, where, *words)
    for arm in ("text", *SHIPPED):
        out = study / "results" / f"zeroshot-text-{Path(arm).name}.jsonl"
        if run.absent(out):
            encoder = arm if arm in SHIPPED else run.encoders(arm)
            words = ("--mode", "text", "--config", config, "--out", out)
            run.steps.run("imu-eval", "zeroshot", encoder, where, *words)


@app.command()
def table(study: Study = STUDY, dry_run: DryRun = False) -> None:
    """Write STUDY/tables.md from the stored counts."""
    from studies import estimates

    run, folder = _run(study, dry_run), study / "results"
    found = [name for name in EVALUATIONS if (folder / f"{name}.jsonl").is_file()]
    if not found:
        raise ConfigError(f"{folder} holds no results", hint="python studies/older_adults/run.py evaluate")
    run.steps.say(f"Write the tables of {len(found)} result files")
    if dry_run:
        return
    page = [estimates.page(folder / f"{name}.jsonl", name, FIRST) for name in found]
    page.append(zero_table({path: read_results([path])[0] for path in sorted(folder.glob("zeroshot-*.jsonl"))}))
    (study / "tables.md").write_text("\n".join(page))


def zero_table(found: Mapping[Path, Sequence[Result]]) -> str:
    """Macro-F1 without a label of the target, one row per file, domain and model.

    Args:
        found: result file -> its lines.
    """
    from studies.estimates import table

    body = []
    for path, lines in found.items():
        _, mode, arm = path.stem.split("-", 2)
        for line in lines:
            if line.metric == "macro_f1" and not line.is_difference:
                low, high = (f"{end:.3f}" if end is not None else "" for end in (line.low, line.high))
                own = [mode, arm if line.model == "pretrained" else line.model, str(line.domain), str(line.probe)]
                chance = "" if line.chance is None else f"{line.chance:.3f}"
                own.append(str(len(line.details.get("classes", ()))))
                body.append([*own, f"{line.value:.3f} [{low}, {high}]", chance, str(line.subjects)])
    # References are in the file of every arm, with equal values.
    head = ["mode", "model", "domain", "probe", "classes", "macro-F1", "chance", "test subjects"]
    return "## Zero-shot\n\n" + table(head, [list(row) for row in dict.fromkeys(map(tuple, body))])


if __name__ == "__main__":
    console.run(app)
