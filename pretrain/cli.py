"""The command `imu-pretrain`: launch, export, status; the work is done in run.py and export.py."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from imu_video.config import load_config
from imu_video.errors import ConfigError
from imu_video.registry import load_plugin
from imu_video.runtime import console
from imu_video.runtime.children import python
from imu_video.runtime.command import new_app

if TYPE_CHECKING:
    from pretrain.config import PretrainConfig

app = new_app("imu-pretrain", "Pretrain an IMU encoder against a frozen video teacher, and export it.")

Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file that registers your own components.")]
RunPath = Annotated[Path | None, typer.Option("--run", help="Run folder. Default: runs/<name>-<run id>.")]
Processes = Annotated[int, typer.Option("--nproc", min=1, help="Processes on this machine: one per GPU or core.")]
Resume = Annotated[
    str, typer.Option("--resume", help="auto: continue an interrupted run; never: refuse; or a checkpoint folder.")
]


@app.command()
def launch(
    config: Annotated[Path, typer.Argument(help="Config file, for example configs/pretrain/base.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Config overrides: section.key=value.")] = None,
    run: RunPath = None,
    nproc: Processes = 1,
    resume: Resume = "auto",
    plugin: Plugins = None,
) -> None:
    """Train an encoder; the same command resumes an interrupted run. Stop signals and Ctrl-C write a checkpoint."""
    from pretrain.config import PretrainConfig

    _train(
        lambda: load_config(config, PretrainConfig, overrides or []),
        ["launch", str(config), *(overrides or [])],
        run=run,
        nproc=nproc,
        resume=resume,
        plugins=plugin or [],
    )


def _train(
    load: Callable[[], PretrainConfig],
    words: list[str],
    *,
    run: Path | None,
    nproc: int,
    resume: str,
    plugins: list[Path],
) -> None:
    """Train in this process, or in several that repeat the command (``words``).

    The config is loaded with the plugins and with what they print under control.
    """
    from pretrain.observe.output import lasting_output

    with lasting_output():
        for file in plugins:
            load_plugin(file)
        _run(load(), words, run=run, nproc=nproc, resume=resume, plugins=plugins)


def _run(
    loaded: PretrainConfig, words: list[str], *, run: Path | None, nproc: int, resume: str, plugins: list[Path]
) -> None:
    if nproc > 1:
        from pretrain.prepare.checks import check_processes
        from pretrain.runs.launch import supervise

        check_processes(loaded, nproc)
        command = python("-m", "pretrain", *words, "--resume", resume)
        command += ["--run", str(run)] if run is not None else []
        command += [word for file in plugins for word in ("--plugin", str(file))]
        raise typer.Exit(supervise(command, nproc=nproc, threads=loaded.run.threads))

    from imu_video.runtime.distributed import World
    from pretrain.run import run as train

    world = World.from_environment()
    outcome = train(loaded, folder=run, resume=resume, plugins=[str(file) for file in plugins], world=world)
    if world.rank != 0:
        return
    best = outcome.state.best
    score = f"; best {best.rule} {best.value:.4f} at step {best.step}" if best is not None else ""
    if outcome.stopped is not None:
        console.say(
            f"stopped by {outcome.stopped} after step {outcome.state.step} of {outcome.steps}{score}",
            f"  checkpoint: {outcome.folder}/checkpoints",
            "  the same command resumes the run",
        )
    else:
        console.say(f"done: {outcome.steps} steps{score}", f"  run: {outcome.folder}")
        console.say(f"  next: imu-pretrain export {outcome.folder} OUT")


@app.command("continue")
def continue_(
    finished: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run; it is only read.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="New length and learning rate: optim.steps=4000 optim.lr=1e-4.")
    ] = None,
    run: RunPath = None,
    nproc: Processes = 1,
    resume: Resume = "auto",
    plugin: Plugins = None,
) -> None:
    """Train a finished run for more steps, as a new run; the same command resumes it when interrupted."""
    from pretrain.prepare.origin import continued

    _train(
        lambda: continued(finished, overrides or [], folder=run),
        ["continue", str(finished), *(overrides or [])],
        run=run,
        nproc=nproc,
        resume=resume,
        plugins=plugin or [],
    )


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Argument(help="Encoder folder to write.")],
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best, latest or a step number.")] = "best",
    data: Annotated[Path | None, typer.Option("--data", help="Data folder, if it was moved after training.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing encoder folder.")] = False,
    with_side: Annotated[
        str | None,
        typer.Option("--with-side", help="Also export the jointly trained encoder of a modality, to OUT/MODALITY."),
    ] = None,
    with_skeleton: Annotated[bool, typer.Option("--with-skeleton", help="Short for --with-side skeleton.")] = False,
    plugin: Plugins = None,
) -> None:
    """Export the student encoder and verify that the reloaded encoder gives the same features."""
    for file in plugin or []:
        load_plugin(file)
    from pretrain.export import export as write

    if with_skeleton:
        if with_side not in (None, "skeleton"):
            raise ConfigError(f"--with-skeleton and --with-side {with_side} name two modalities", hint="give one")
        with_side = "skeleton"
    done = write(run, out, checkpoint=checkpoint, data=data, force=force, with_side=with_side)
    console.say(
        f"{done.folder}: encoder of step {done.step}; {done.windows} validation windows compared, "
        f"largest difference {done.difference:.1e}",
        f"  next: imu-eval fewshot {done.folder} DATA",
    )


@app.command()
def status(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Show the last metrics of a run and its checkpoints."""
    from pretrain.observe.status import describe

    for title, columns, rows in describe(run):
        if not sys.stdout.isatty():
            console.say(f"# {title}")
        console.table(columns, rows, title=title)


def main() -> None:
    """Entry point of the console script."""
    if "WORLD_SIZE" not in os.environ:
        return console.run(app)
    try:
        console.run(app)
    except SystemExit as leaving:
        _leave_group(leaving)


def _leave_group(leaving: SystemExit) -> NoReturn:
    """End a process of a process group without finalising the interpreter.

    Threads of the group's transport outlive the group and may release a Python object late. If the interpreter is being
    finalised at that moment, the process is aborted although all its work is written.
    """
    code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
