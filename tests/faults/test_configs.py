"""Configs with values that no user means: accepted, or one error that names file or key; no traceback, death or hang.

Every place of a config of each kind is replaced in turn (`sweep.mutants`), and whole files are replaced
(`sweep.WHOLE`). Where there are more mutants than `MOST`, a seed chooses.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch

from imu_video import registry
from tests.faults.config_kinds import Kind, kinds
from tests.faults.conftest import Score
from tests.faults.sweep import WHOLE, Outcome, dump, mutants, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.faults]
MOST = int(os.environ.get("IMU_VIDEO_MUTANTS", "400"))
"""Mutants of one kind, besides the whole files."""
SEED = int(os.environ.get("IMU_VIDEO_SEED", "0"))
NAMES = (
    "pretraining", "build", "build of made-up recordings", "dataset.yaml", "few-shot", "limited labels",
    "domain shift", "label maps", "encoder",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Every kind; all components are imported and every unchanged config is accepted before anything forks."""
    torch.set_num_threads(1)  # threads of a parent do not exist in a forked child
    for one in registry.ALL.values():
        one.names()
    folder = tmp_path_factory.mktemp("configs")
    found = kinds(folder)
    for number, kind in enumerate(found.values()):
        path = folder / "unchanged" / str(number) / kind.name
        path.parent.mkdir(parents=True)
        path.write_text(dump(kind.document))
        kind.run(path)
    return found


def right(outcome: Outcome, *always: str) -> bool:
    """Whether a mutant was accepted, or refused by one error with its file or its key."""
    if outcome.kind != "refused":
        return outcome.kind == "accepted"
    key = outcome.mutant.partition(" = ")[0]
    for ending in (" twice", " under another name"):
        key = key.removesuffix(ending)
    names = [] if outcome.mutant in WHOLE else [part.rstrip("s") for part in key.split(".") if not part.isdigit()]
    return any(name in outcome.message for name in (*always, *names))


@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_accepted_or_named(name: str, made: dict[str, Kind], score: Score, tmp_path: Path) -> None:
    chosen = {one: kind for one, kind in made.items() if one == name or name == "encoder" == one.split()[0]}
    with score(f"configs: {name}, any value anywhere is accepted or one error") as case:
        for one, kind in chosen.items():
            cases: list[tuple[str, str | bytes]] = list(mutants(kind.document))
            random.Random(f"{SEED} {one}").shuffle(cases)
            cases = [*cases[: max(1, MOST // len(chosen))], *WHOLE.items()]
            key = ("encoder",) if name == "encoder" else ()  # of the config that names the entry
            for outcome in outcomes(cases, kind.run, tmp_path / one, workers=2, name=kind.name):
                what = f"{one}: {outcome.mutant}: {outcome.kind}: {outcome.message[-300:]}"
                case.add(right(outcome, kind.name, *key), what)
