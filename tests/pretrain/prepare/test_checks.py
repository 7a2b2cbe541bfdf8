"""Each check of a run fires with its message, in `prepare`, before anything is written."""

from __future__ import annotations

import inspect
import traceback
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imu_video.errors import ConfigError, DataError, GuardStop, ImuVideoError, LeakageError, TeacherCacheError
from imu_video.registry import encoders
from imu_video.runtime.distributed import World
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window
from pretrain.config import PretrainConfig
from pretrain.prepare import checks, data_checks
from pretrain.prepare import prepare as prepare_module
from pretrain.prepare.prepare import prepare
from tests.pretrain.conftest import PLACEMENTS, RATE, make_data, make_window, raw_config

TINY = {"name": "tiny", "dim": 12}
TOWER = {"name": "skeleton", "width": 8, "frames": 16, "segments": 2}
OBJECTIVES = [{"name": "masked_patches", "patch": 10}]
UNPAIRED = {"loss": [], "objective": OBJECTIVES}
Patch = Callable[[pytest.MonkeyPatch, Index], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request that one check refuses."""

    check: str
    words: str
    sections: dict[str, Any] = field(default_factory=dict)
    error: type[ImuVideoError] = ConfigError
    world: World | None = None
    patch: Patch = lambda patch, index: None


def no_gpu(patch: pytest.MonkeyPatch, index: Index) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: False)


def old_gpu(patch: pytest.MonkeyPatch, index: Index) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)


def folders(**facts: Any) -> Patch:
    """The folder once as it is and once with other facts."""

    def apply(patch: pytest.MonkeyPatch, index: Index) -> None:
        other = index.model_copy(update=facts)
        patch.setattr(prepare_module, "open_indexes", lambda section: (index, other))

    return apply


def encoder(result: Callable[[torch.Tensor], torch.Tensor]) -> Patch:
    def apply(patch: pytest.MonkeyPatch, index: Index) -> None:
        class Odd(nn.Module):
            channels, feature_dim = 6, 6

            def __init__(self) -> None:
                super().__init__()

            def forward(self, imu: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
                return result(imu)

        encoders.names()  # the built-in ones are loaded first
        patch.setitem(encoders._classes, "odd", Odd)

    return apply


def full_disk(patch: pytest.MonkeyPatch, index: Index) -> None:
    usage = namedtuple("usage", "total used free")
    patch.setattr(checks.shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**20))


BEFORE_SAMPLES = [
    # the request
    Case(check="check_processes", world=World(size=3), words=r"does not divide over 3 processes(.|\n)*batch_size=30"),
    Case(check="device_for", sections={"run": {"device": "cuda"}}, patch=no_gpu, words="has no GPU of its own"),
    Case(
        check="precision_for",
        sections={"run": {"device": "cuda", "precision": "bf16"}},
        patch=old_gpu,
        words="run.precision is bf16, which this GPU lacks",
    ),
    Case(
        check="check_teacher_choice",
        sections={"data": {"teacher": "none"}},
        words="is none, but the losses need a teacher",
    ),
    Case(
        check="check_teacher_choice",
        sections={"data": {"live_teacher": TINY}},
        words=r"data.live_teacher is set(.|\n)*data.teacher=live",
    ),
    Case(
        check="check_teacher_choice",
        sections={"data": {"clip_augment": ["flip"]}},
        words=r"data.clip_augment is set(.|\n)*data.teacher=live",
    ),
    Case(
        check="check_teacher_choice",
        sections={**UNPAIRED, "data": {"teacher": "made"}},
        words="'made', but no loss or objective in this config uses a teacher",
    ),
    Case(
        check="check_teacher_choice",
        sections={"data": {"teacher": "live"}},
        words="is live, but data.live_teacher is null",
    ),
    Case(check="check_teacher_choice", sections={**UNPAIRED, "tower": TOWER}, words="no loss uses the video side"),
    Case(
        check="check_control",
        sections={**UNPAIRED, "data": {"control": "permuted_pairs"}},
        words="this run uses no teacher, text or other modality",
    ),
    Case(
        check="check_unpaired",
        sections={"data": {"root": [{"root": "data/mine", "paired": False}]}},
        words="every loss and objective reads the other modality",
    ),
    Case(check="check_heads", sections={"projector": {"hidden": 4}}, words="head 'residual' has no hidden layer"),
    Case(check="check_augmented_pair", sections={"loss": ["nt_xent"], "augment": []}, words="augment is empty"),
    Case(check="check_augmented_pair", sections={"projector": {"pair_head": "own"}}, words="pair_head is own"),
    Case(check="check_augmented_pair", sections={"data": {"pair": "devices"}}, words="data.pair is devices, but no"),
    Case(check="check_augmented_pair", sections={"augment_first": False}, words="augment_first is false"),
    Case(check="check_best_rule", sections={**UNPAIRED, "run": {"best": "mrr"}}, words="run.best is mrr"),
    Case(
        check="check_fixed_target",
        sections={"loss": ["feature_regression"], "tower": TOWER},
        words="feature_regression distils towards the video embedding, which a tower would train",
    ),
    Case(
        check="check_fixed_target",
        sections={"loss": ["info_nce", "feature_regression", {"name": "queue_distill", "size": 64}]},
        words=r"'mlp', but feature_regression and queue_distill distils(.|\n)*projector.teacher=none",
    ),
    Case(
        check="check_queues",
        sections={"loss": [{"name": "queue_distill", "size": 31}], "projector": {"teacher": "none", "dim": None}},
        words="a queue of 31 is shorter than the global batch of 32",
    ),
    Case(
        check="check_queues",
        sections={"loss": ["info_nce", {"name": "hard_negative", "queue": 8}]},
        words="loss 'hard_negative': a queue of 8 is shorter",
    ),
    # the data folders
    Case(
        check="check_addresses",
        sections={"data": {"root": "https://example.org/data?signature=secret"}},
        words=r"signed query(?!(.|\n)*secret)",
    ),
    Case(
        check="check_splits",
        sections={"data": {"train_split": "trian"}},
        words="data.train_split: .* no split 'trian'.*did you mean 'train'",
    ),
    Case(
        check="check_placements",
        sections={"data": {"placements": ["wirst"]}},
        words="no device 'wirst'.*did you mean 'wrist'",
    ),
    Case(
        check="check_placements",
        sections={"loss": ["collossl"], "data": {"placements": ["waist"]}},
        words="compares devices, but there is one: waist",
    ),
    Case(check="check_conditioning", patch=folders(gravity="mixed"), words="some recordings include gravity"),
    Case(
        check="check_conditioning", patch=folders(gravity="removed"), words="has gravity 'removed', .* has 'included'"
    ),
    Case(check="check_conditioning", patch=folders(normalised="recording"), words="has normalised 'recording'"),
    Case(check="check_streams", sections={"tower": TOWER}, words="has no skeleton"),
    Case(
        check="check_subjects",
        sections={"data": {"val_split": "train"}},
        error=LeakageError,
        words="'train' and 'train' share subjects",
    ),
    Case(
        check="check_live_teacher",
        sections={"data": {"teacher": "live", "live_teacher": {**TINY, "modality": "skeleton"}}},
        words="'tiny' cannot run live: its modality is skeleton",
    ),
    Case(
        check="check_live_teacher",
        sections={"data": {"teacher": "live", "live_teacher": TINY}},
        error=DataError,
        words="a live teacher needs clips",
    ),
    # the model
    Case(
        check="check_encoder",
        sections={"encoder": "odd"},
        patch=encoder(lambda imu: imu.unfold(-1, 64, 64).mean((-1, -2))),
        words="'odd' does not take windows of 50 samples",
    ),
    Case(
        check="check_encoder",
        sections={"encoder": "odd"},
        patch=encoder(lambda imu: imu),
        words=r"'odd' returned \(2, 6, 50\), expected \(B, E\) = \(2, 6\)",
    ),
    Case(
        check="check_batch_norm",
        sections={"encoder": {"norm": "batch"}},
        world=World(size=2),
        words="SyncBatchNorm, which does not exist on CPUs",
    ),
    Case(check="check_disk", patch=full_disk, error=GuardStop, words="1 MiB free, 16 MiB needed for 4 checkpoints"),
]
ON_SAMPLES = [
    Case(
        check="check_worn_together", sections={"loss": ["collossl"]}, words="no window of split 'train' has two devices"
    ),
    Case(check="gallery_batch", sections={"run": {"gallery": 2}}, world=World(size=4), words="has 2 usable pairs"),
    Case(
        check="steps_of",
        sections={"optim": {"steps": None, "epochs": 1, "accumulate": 100}},
        words="optim.epochs 1: 4 batches per epoch are fewer than one update of 100 batches needs",
    ),
]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A data folder from which no samples have been read: it has no columns."""
    return make_data(tmp_path_factory.mktemp("untouched") / "data", {"train": 160, "val": 64})


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A data folder in which no two devices were worn at once."""
    latent = np.random.default_rng(3).uniform(0, 1, (160, 3))
    made = {
        split: [one_device(make_window(split, i, latent[i]), i) for i in range(count)]
        for split, count in (("train", 160), ("val", 64))
    }
    return write_folder(
        tmp_path_factory.mktemp("apart") / "data", made, rate_hz=RATE, placements=PLACEMENTS, shard_samples=256
    )


def one_device(window: Window, number: int) -> Window:
    name = list(window.imu)[number % len(window.imu)]
    return replace(window, imu={name: window.imu[name]})


def refused(case: Case, index: Index, patch: pytest.MonkeyPatch, folder: Path) -> None:
    case.patch(patch, index)
    config = PretrainConfig.model_validate(raw_config(index.root, **case.sections))
    with pytest.raises(case.error, match=case.words) as caught, prepare(config, folder=folder, world=case.world):
        raise AssertionError("prepared")
    functions = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert case.check in functions, f"another check fired first: {functions[-1]}"
    assert not folder.exists()


def ids(case: Case) -> str:
    return f"{case.check}: {case.words}"


@pytest.mark.parametrize("case", BEFORE_SAMPLES, ids=ids)
def test_it_fires_before_a_sample_is_read(
    case: Case, untouched: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(untouched.root.rglob("*"))
    refused(case, untouched, monkeypatch, tmp_path / "run")
    assert sorted(untouched.root.rglob("*")) == before


@pytest.mark.parametrize("case", ON_SAMPLES, ids=ids)
def test_it_fires_before_the_run_folder_is_written(
    case: Case, data: Index, apart: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(case, apart if case.check == "check_worn_together" else data, monkeypatch, tmp_path / "run")


def own_functions(module: ModuleType) -> list[str]:
    found = inspect.getmembers(module, inspect.isfunction)
    return [name for name, function in found if function.__module__ == module.__name__]


def test_every_check_has_a_case() -> None:
    known = {name for module in (checks, data_checks) for name in own_functions(module)}
    assert known == {case.check for case in (*BEFORE_SAMPLES, *ON_SAMPLES)}


def test_every_check_is_called_once() -> None:
    source = inspect.getsource(prepare_module)
    for module, prefix in ((checks, " checks."), (data_checks, "data_checks.")):
        for name in own_functions(module):
            assert source.count(f"{prefix}{name}(") == 1, name


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"data": {"batch_size": 152}}, ConfigError, "151 of 160 samples"),
        ({"data": {"teacher": "feedfacecaff"}}, TeacherCacheError, "feedfacecaff"),
        ({"projector": {"teacher": "none"}}, ConfigError, "the teacher has 12"),
        ({"loss": [{"name": "info_nse"}]}, ConfigError, "did you mean 'info_nce'"),
        ({"loss": [{"name": "info_nce", "temperature": 0.0}]}, ConfigError, "'temperature': must be at least 0.01"),
        ({"augment": [{"name": "rotate", "degrees": 3}]}, ConfigError, "has no argument 'degrees'"),
        ({"objective": [{"name": "masked_patches", "patch": 30}]}, ConfigError, "contain 1 patches of 30"),
        ({"objective": [{"name": "maked_patches"}]}, ConfigError, "did you mean 'masked_patches'"),
    ],
)
def test_what_a_component_refuses_leaves_nothing_behind(
    data: Index, tmp_path: Path, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    config = PretrainConfig.model_validate(raw_config(data.root, **sections))
    with pytest.raises(error, match=message), prepare(config, folder=tmp_path / "run"):
        raise AssertionError("prepared")
    assert not (tmp_path / "run").exists()
