"""The spiking encoder beside encoders without spikes, trained on labels; README.md states question and method.

    python studies/l2mu/run.py data RawData           # the windows of HAPT
    python studies/l2mu/run.py train                  # every encoder on every fold; finished cells are kept
    python studies/l2mu/run.py report                 # the table of results.md

Every command uses one CPU thread unless OMP_NUM_THREADS is set.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the clone, for the module that the studies share
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from imu_video.config import Config, load_config
from imu_video.errors import ConfigError
from imu_video.runtime import console
from studies.common import CONFIGS, DryRun, Steps

HERE = Path(__file__).resolve().parent
STUDY = Path("l2mu-run")
REFERENCE = "l2mu"
"""Encoder that is pruned, and that the others are compared with."""
ADD, MULTIPLY = 0.9, 3.7
"""Picojoules per addition and multiplication of 32-bit floats (Horowitz 2014, doi 10.1109/ISSCC.2014.6757323)."""
SHOWN = ("synapses", "sparsity", "synaptic_operations", "multiplications", "updates")
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Study = Annotated[Path, typer.Option("--study", help="Folder of data and results.")]


class Pruning(Config):
    """Shares of synapses that are removed, and passes over the training windows after each."""

    shares: list[float]
    epochs: int


class Plan(Config):
    """What is trained: see configs/hapt.yaml."""

    labels: list[str]
    folds: int
    training: dict[str, Any]
    encoders: dict[str, dict[str, Any]]
    pruning: Pruning


@app.command()
def data(
    root: Annotated[Path, typer.Argument(help="Folder RawData of HAPT.")], study: Study = STUDY, dry_run: DryRun = False
) -> None:
    """Build the windows of HAPT."""
    config = CONFIGS / "data" / "hapt.yaml"
    Steps(dry_run=dry_run, threads=1).run(
        "imu-video", "build", config, study / "data" / "hapt", f"dataset.root={root}", title="Build HAPT"
    )


@app.command()
def train(
    folder: Annotated[Path | None, typer.Option("--data", help="Data folder; default: that of `data`.")] = None,
    config: Annotated[Path, typer.Option("--config", help="Encoders, folds and training.")] = HERE
    / "configs/hapt.yaml",
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this encoder; repeat for several.")] = None,
    study: Study = STUDY,
) -> None:
    """Train every encoder on every fold and append one line per cell to results.jsonl."""
    import torch

    from eval.data.source import open_labelled

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    plan, out = load_config(config, Plan), study / "results.jsonl"
    study.mkdir(parents=True, exist_ok=True)
    windows = open_labelled(folder or study / "data" / "hapt").windows()
    names = np.array(windows.classes)[windows.labels]
    rows = np.flatnonzero(np.isin(names, plan.labels))
    missing = sorted(set(plan.labels) - set(names))
    if missing:
        raise ConfigError(f"no window has the label {missing[0]!r}", hint=f"labels: {', '.join(windows.classes)}")
    subjects = windows.facts["subject"]
    everyone = np.random.default_rng(0).permutation(sorted(set(subjects[rows])))
    done = {(line["encoder"], line["fold"]) for line in _lines(out)}
    for fold in range(plan.folds):
        held_out = set(everyone[fold :: plan.folds])
        test = rows[np.isin(subjects[rows], sorted(held_out))]
        fitted = rows[~np.isin(subjects[rows], sorted(held_out))]
        for name, entry in plan.encoders.items():
            wanted = [name] + ([f"{name}_{share:g}" for share in plan.pruning.shares] if name == REFERENCE else [])
            if (only and name not in only) or all((one, fold) in done for one in wanted):
                continue
            for line in _cells(plan, windows, names, fitted, test, name, entry, fold):
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                console.say(
                    f"fold {fold}, {line['encoder']}: macro-F1 {np.mean(list(line['macro_f1'].values())):.3f}, "
                    f"{line['seconds']:.0f} s of CPU time"
                )


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def _cells(
    plan: Plan, windows: Any, names: np.ndarray, fitted: np.ndarray, test: np.ndarray, name: str, entry: Any, fold: int
) -> Any:
    """Results of one encoder on one fold, and of its pruned versions."""
    import time

    import torch
    from torch.nn.functional import one_hot

    from eval.data.features import spec_of
    from eval.finetune.config import NetworkConfig
    from eval.finetune.network import Network, measured, train_network
    from imu_video.bundle.encoder import EncoderBundle
    from imu_video.encoders.spiking import prune

    torch.manual_seed(fold)
    labels = np.searchsorted(sorted(plan.labels), names)
    network = Network(bundle=EncoderBundle(spec=spec_of(windows, fitted), encoder=entry), classes=len(plan.labels))
    imu, mask = measured(windows.x[fitted])
    targets = one_hot(torch.from_numpy(labels[fitted]), len(plan.labels)).float()
    stages = [(name, 0.0, plan.training)]
    if name == REFERENCE:
        shorter = {**plan.training, "epochs": plan.pruning.epochs}
        stages += [(f"{name}_{share:g}", share, shorter) for share in plan.pruning.shares]
    for title, share, training in stages:
        began = time.process_time()
        if share:
            prune(network.bundle.encoder, share)
        train_network(network, imu, mask, targets, config=NetworkConfig(**training), seed=fold)
        x, there = measured(windows.x[test])
        guess = network.probabilities(x, there).argmax(1)
        subject = windows.facts["subject"][test]
        scores = {one: _scores(labels[test][subject == one], guess[subject == one]) for one in sorted(set(subject))}
        yield {
            "encoder": title,
            "fold": fold,
            "macro_f1": {one: score[0] for one, score in scores.items()},
            "accuracy": {one: score[1] for one, score in scores.items()},
            "windows": len(test),
            "seconds": time.process_time() - began,
            **_cost(network.bundle, x, there),
        }


def _scores(truth: np.ndarray, guess: np.ndarray) -> tuple[float, float]:
    from sklearn.metrics import f1_score

    return float(f1_score(truth, guess, average="macro", labels=np.unique(truth))), float((truth == guess).mean())


def _cost(bundle: Any, x: Any, there: Any) -> dict[str, Any]:
    """Parameters and operations per window: of spikes on all test windows, else multiply-accumulates of the layers."""
    from imu_video.encoders.spiking import L2MU, spike_cost

    parameters = sum(p.numel() for p in bundle.encoder.parameters())
    if isinstance(bundle.encoder, L2MU):
        return {
            "parameters": parameters,
            "spikes": asdict(spike_cost(bundle.encoder, bundle.normalise(x, there), there)),
        }
    return {"parameters": parameters, "multiply_accumulates": multiply_accumulates(bundle, x[:1])}


def multiply_accumulates(bundle: Any, window: Any) -> int:
    """Multiply-accumulates of convolutions, linear layers and GRUs for one window; norms and pooling are left out."""
    import torch
    from torch import nn

    total = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(module, nn.GRU):
            weights = sum(p.numel() for key, p in module.named_parameters() if key.startswith("weight"))
            total += inputs[0].shape[1] * weights
        else:
            assert isinstance(module, nn.Conv1d | nn.Linear)
            total += output.numel() * module.weight[0].numel()

    hooks = [
        part.register_forward_hook(count)
        for part in bundle.encoder.modules()
        if isinstance(part, nn.Conv1d | nn.Linear | nn.GRU)
    ]
    with torch.no_grad():
        bundle(window)
    for hook in hooks:
        hook.remove()
    return total


@app.command()
def report(study: Study = STUDY) -> None:
    """Print the tables of results.md: accuracy with intervals over subjects and folds, and operations per window."""
    lines = _lines(study / "results.jsonl")
    if not lines:
        raise ConfigError(f"{study} holds no results", hint="python studies/l2mu/run.py train")
    encoders = list(dict.fromkeys(line["encoder"] for line in lines))
    scores = {name: _per_subject(lines, name, "macro_f1") for name in encoders}
    fold = {one: str(line["fold"]) for line in lines for one in line["macro_f1"]}
    console.say(f"| encoder | subjects | macro-F1 | minus {REFERENCE} | accuracy |", "|---|---|---|---|---|")
    for name in encoders:
        cells = [name, str(len(scores[name])), _shown(scores[name], fold, "{:.3f} [{:.3f}, {:.3f}]", fraction=True)]
        shared = scores[name].keys() & scores.get(REFERENCE, {}).keys()
        paired = {one: scores[name][one] - scores[REFERENCE][one] for one in sorted(shared)}
        cells.append("" if name == REFERENCE else _shown(paired, fold, "{:+.3f} [{:+.3f}, {:+.3f}]", fraction=False))
        cells.append(f"{np.mean(list(_per_subject(lines, name, 'accuracy').values())):.3f}")
        console.say(f"| {' | '.join(cells)} |")
    console.say(
        "",
        "| encoder | parameters | weights not zero | sparsity | synaptic operations | multiply-accumulates "
        "| updates of a membrane | energy of the arithmetic |",
        "|---|---|---|---|---|---|---|---|",
    )
    for name in encoders:
        own = [line for line in lines if line["encoder"] == name]
        cells = [name, f"{own[0]['parameters']:,}"]
        if "spikes" in own[0]:
            mean = {key: float(np.mean([line["spikes"][key] for line in own])) for key in SHOWN}
            picojoule = mean["synaptic_operations"] * ADD + mean["multiplications"] * (MULTIPLY + ADD)
            picojoule += mean["updates"] * (MULTIPLY + 2 * ADD)
            cells += [f"{mean['synapses']:,.0f}", f"{mean['sparsity']:.3f}", f"{mean['synaptic_operations']:,.0f}"]
            cells += [f"{mean['multiplications']:,.0f}", f"{mean['updates']:,.0f}"]
        else:
            picojoule = own[0]["multiply_accumulates"] * (MULTIPLY + ADD)
            cells += ["all", "", "", f"{own[0]['multiply_accumulates']:,}", ""]
        console.say(f"| {' | '.join([*cells, f'{picojoule / 1e6:.2f} uJ'])} |")


def _per_subject(lines: list[dict[str, Any]], name: str, metric: str) -> dict[str, float]:
    return {one: value for line in lines if line["encoder"] == name for one, value in line[metric].items()}


def _shown(values: dict[str, float], fold: dict[str, str], form: str, *, fraction: bool) -> str:
    """Mean and 95 % interval over subjects; every fold is one trained network."""
    from imu_video.metrics.inference import estimate

    cells, folds = np.array(list(values.values()))[None, None], [fold[one] for one in values]
    found = estimate(cells, folds=folds if len(set(folds)) > 1 else None, fraction=fraction, random_seeds=True)
    return form.format(found.value, *found.interval(0.95))


if __name__ == "__main__":
    console.run(app)
