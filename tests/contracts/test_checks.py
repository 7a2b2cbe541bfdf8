"""The public checks themselves: each breaks on a component that breaks its contract, and says how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.encoders import PatchTST
from imu_video.losses import PairLoss, functional
from imu_video.runtime.distributed import gather
from imu_video.testing import (
    check_augmentation,
    check_dataset,
    check_encoder,
    check_loss,
    check_losses_over_ranks,
    check_teacher,
)
from imu_video.transforms import Augmentation
from imu_video.types import ImuStream, LossOutput, PairEmbeddings, Recording, Segment


class Encoder(nn.Module):
    """Correct: mean and spread of the measured samples through one linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.feature_dim = 6, 5
        self.linear = nn.Linear(18, 5)

    def statistics(self, imu: Tensor, mask: Tensor) -> Tensor:
        count = mask.sum(-1).clamp(min=1)
        mean = torch.where(mask, imu, 0).sum(-1) / count
        spread = torch.where(mask, (imu - mean[..., None]).square(), 0).sum(-1) / count
        return torch.cat([mean, spread, mask.float().mean(-1)], 1)

    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        if imu.ndim != 3 or imu.shape[1] != 6:
            raise ValueError("expected (B, C, T) with C=6")
        mask = torch.ones_like(imu, dtype=torch.bool) if mask is None else mask
        out: Tensor = self.linear(self.statistics(imu, mask))
        return out


class TakesAnyAxes(Encoder):
    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(imu if imu.shape[1] == 6 else imu.mT, mask)


class LooksUnderTheMask(Encoder):
    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(imu, mask) + (0 if mask is None else imu.mean() * ~mask.all())


class IgnoresTheMask(Encoder):
    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(imu if mask is None else torch.where(mask, imu, 0))


class NeedsMeasuredSamples(Encoder):
    def statistics(self, imu: Tensor, mask: Tensor) -> Tensor:
        mean = torch.where(mask, imu, 0).sum(-1) / mask.sum(-1)
        return torch.cat([mean, mean, mean], 1)


class MixesRows(Encoder):
    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        out = super().forward(imu, mask)
        return out - out.mean(0)


class IsRandom(Encoder):
    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        out = super().forward(imu, mask)
        return out + torch.randn_like(out)


class HasADeadParameter(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(3))


class WritesIntoItsInput(Encoder):
    def forward(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        out = super().forward(imu, mask)
        imu += 1
        return out


class HasTheWrongWidth(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.feature_dim = 7


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (TakesAnyAxes, "axis order"),
        (LooksUnderTheMask, "under a False mask"),
        (IgnoresTheMask, "ignores its mask"),
        (NeedsMeasuredSamples, "NaN"),
        (MixesRows, "depend on the other rows"),
        (IsRandom, "differ"),
        (HasADeadParameter, "no gradient reaches unused"),
        (WritesIntoItsInput, "in place|differ"),
        (HasTheWrongWidth, "feature_dim"),
    ],
)
def test_encoder_faults_are_found(broken: type[Encoder], words: str) -> None:
    torch.manual_seed(0)
    check_encoder(Encoder())
    with pytest.raises(AssertionError, match=words):
        check_encoder(broken())


def test_a_built_encoder_can_be_checked() -> None:
    check_encoder(PatchTST(width=8, layers=1, heads=2, ffn=16))


@registry.losses.register("test_cosine")
class Cosine(PairLoss):
    """Correct: one minus the mean cosine of pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def total(self, pair: PairEmbeddings) -> Tensor:
        return 1 - (pair.imu * pair.side).sum(1).mean()

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        return LossOutput(total=self.total(pair))

    def observe(self, pair: PairEmbeddings) -> None:
        self.count += 1


class GoesUp(Cosine):
    def total(self, pair: PairEmbeddings) -> Tensor:
        return -super().total(pair)


class KeepsTheGraph(Cosine):
    def forward(self, pair: PairEmbeddings) -> LossOutput:
        total = self.total(pair)
        return LossOutput(total=total, terms={"cosine": total})


class Detaches(Cosine):
    def total(self, pair: PairEmbeddings) -> Tensor:
        return super().total(pair).detach()


class CountsInForward(Cosine):
    def total(self, pair: PairEmbeddings) -> Tensor:
        self.count += 1
        return super().total(pair)


class HidesState(Cosine):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0.0

    def total(self, pair: PairEmbeddings) -> Tensor:
        return super().total(pair) + self.hidden

    def observe(self, pair: PairEmbeddings) -> None:
        self.hidden += 1.0


class MindsTheOrder(Cosine):
    def total(self, pair: PairEmbeddings) -> Tensor:
        return 1 - (pair.imu * pair.side).sum(1)[0]


class FollowsAutocast(Cosine):
    def total(self, pair: PairEmbeddings) -> Tensor:
        return 1 - (pair.imu @ pair.side.T).diagonal().mean()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (GoesUp, "matched must cost less"),
        (KeepsTheGraph, "detached scalar"),
        (Detaches, "carries no gradient"),
        (CountsInForward, "changes its state 'count'"),
        (HidesState, "register queues"),
        (MindsTheOrder, "order of the rows"),
        (FollowsAutocast, "autocast"),
    ],
)
def test_loss_faults_are_found(broken: type[Cosine], words: str) -> None:
    check_loss(Cosine())
    with pytest.raises(AssertionError, match=words):
        check_loss(broken())


@registry.losses.register("test_gathers_without_gradient")
class GathersWithoutGradient(PairLoss):
    """The classic fault: other ranks' rows are negatives, but what they would learn from it is lost."""

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        rows = torch.distributed.get_rank() * len(pair.imu) if torch.distributed.is_initialized() else 0
        positives = torch.arange(len(pair.imu)) + rows
        to_video = 10 * pair.imu @ (gather(pair.side) if torch.distributed.is_initialized() else pair.side).T
        to_imu = 10 * pair.side @ (gather(pair.imu) if torch.distributed.is_initialized() else pair.imu).T
        return LossOutput(total=functional.info_nce(to_video, to_imu, positives))


@pytest.mark.slow  # starts two processes
def test_a_gather_without_gradient_is_found() -> None:
    """Also: a loss that only this file registers reaches the other processes."""
    with pytest.raises(AssertionError, match=r"gradient of (encoder|projector).*gather with gradient"):
        check_losses_over_ranks(["test_gathers_without_gradient"])


class Flip(Augmentation):
    """Correct: turns the sign."""

    def __init__(self, *, p: float = 1.0) -> None:
        super().__init__(p=p)

    def change(self, imu: Tensor, mask: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
        return -imu, mask


class DrawsGlobally(Flip):
    def change(self, imu: Tensor, mask: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
        return imu + torch.randn_like(imu), mask


class MakesUpSamples(Flip):
    def change(self, imu: Tensor, mask: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
        return imu, torch.ones_like(mask)


class SmearsMissing(Flip):
    def change(self, imu: Tensor, mask: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
        return imu - imu.mean(-1, keepdim=True), mask


class ChangesInPlace(Flip):
    def change(self, imu: Tensor, mask: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
        return imu.mul_(2), mask


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (DrawsGlobally, "global generator"),
        (MakesUpSamples, "makes up samples"),
        (SmearsMissing, "under a False mask"),
        (ChangesInPlace, "in place"),
    ],
)
def test_augmentation_faults_are_found(broken: type[Flip], words: str) -> None:
    check_augmentation(Flip())
    with pytest.raises(AssertionError, match=words):
        check_augmentation(broken())


class Teacher(nn.Module):
    """Correct: mean colour of the clip through a fixed map."""

    modality, feature_dim = "video", 4

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    def describe(self) -> dict[str, Any]:
        return {"name": "mean_colour"}

    def encode(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 5:
            raise ValueError("expected (B, F, H, W, 3)")
        with torch.no_grad():
            out: Tensor = self.linear(inputs.float().mean((1, 2, 3)))
        return out


class Trains(Teacher):
    def train(self, mode: bool = True) -> Teacher:
        return nn.Module.train(self, mode)


class Learns(Teacher):
    def __init__(self) -> None:
        super().__init__()
        self.linear.requires_grad_()


class MixesClips(Teacher):
    def encode(self, inputs: Tensor) -> Tensor:
        out = super().encode(inputs)
        return out - out.mean(0)


class SaysNothing(Teacher):
    def describe(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Trains, "evaluation mode"),
        (Learns, "take gradients"),
        (MixesClips, "other clips"),
        (SaysNothing, "describe"),
    ],
)
def test_teacher_faults_are_found(broken: type[Teacher], words: str) -> None:
    check_teacher(Teacher())
    with pytest.raises(AssertionError, match=words):
        check_teacher(broken())


class Dataset:
    """Correct: two people, one still recording each."""

    name = "still"
    licence: ClassVar[str] = "CC0-1.0"
    citation: ClassVar[str] = "none"
    url: ClassVar[str] = "https://example.org"
    placements: ClassVar[tuple[str, ...]] = ("waist",)
    labels: ClassVar[tuple[str, ...]] = ("stand",)
    rate_hz: ClassVar[float] = 50.0
    gravity = 9.8

    def subjects(self) -> list[str]:
        return ["a", "b"]

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        for subject in self.subjects() if subjects is None else subjects:
            yield self.recording(subject)

    def recording(self, subject: str, **changes: Any) -> Recording:
        values = np.zeros((6, 500))
        values[2] = self.gravity
        stream = ImuStream(placement="waist", times=np.arange(500) / 50, values=values)
        facts = {
            "dataset": "still",
            "subject": subject,
            "name": f"{subject}-1",
            "imu": (stream,),
            "segments": (Segment(start=1, end=5, label="stand"),),
        }
        return Recording(**{**facts, **changes})


class InG(Dataset):
    gravity = 1.0


class OtherPerson(Dataset):
    def recording(self, subject: str, **changes: Any) -> Recording:
        return super().recording("b")


class UnknownLabel(Dataset):
    labels: ClassVar[tuple[str, ...]] = ("sit",)


class OtherRate(Dataset):
    rate_hz: ClassVar[float] = 100.0


class OtherClock(Dataset):
    def recording(self, subject: str, **changes: Any) -> Recording:
        return super().recording(subject, segments=(Segment(start=1e9, end=1e9 + 5, label="stand"),))


class Unlicensed(Dataset):
    licence: ClassVar[str] = ""


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (InG, "looks? like g"),
        (OtherPerson, "gives recording b-1 of subject 'b'"),
        (UnknownLabel, "label 'stand' is not declared"),
        (OtherRate, "50 Hz, declared are 100"),
        (OtherClock, "is outside the IMU"),
        (Unlicensed, "licence"),
    ],
)
def test_dataset_faults_are_found(broken: type[Dataset], words: str) -> None:
    check_dataset(Dataset())
    with pytest.raises(AssertionError, match=words):
        check_dataset(broken())


def test_checks_take_plugins(tmp_path: Path) -> None:
    """As a user would: one file, registered by loading it, checked by name."""
    plugin = tmp_path / "my_parts.py"
    plugin.write_text(
        "from imu_video.losses import InfoNCE\n"
        "from imu_video.registry import losses\n"
        "@losses.register('test_mine')\n"
        "class Mine(InfoNCE):\n"
        "    pass\n"
    )
    registry.load_plugin(plugin)
    check_loss("test_mine")


def test_the_example_in_the_docs_passes() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "guides" / "encoders-and-losses.md"
    blocks = [part.split("```")[0] for part in page.read_text(encoding="utf-8").split("```python\n")[1:]]
    (example,) = [block for block in blocks if "@encoders.register" in block]
    exec(compile(example.replace('"statistics"', '"test_statistics"'), str(page), "exec"), {"__name__": "docs_example"})
    check_encoder("test_statistics")
