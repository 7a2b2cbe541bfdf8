"""Typed objects refuse what breaks their contract, in words that say what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imu_video.errors import RecordingError
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.types import ImuStream, PairBatch, PairMeta, Recording, channel_unit


def stream(placement: str = "waist", **changes: object) -> ImuStream:
    given = {"placement": placement, "times": np.arange(4) / 50, "values": np.zeros((6, 4)), **changes}
    return ImuStream(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": np.zeros((4, 6))}, r"shape \(4, 6\), expected \(C, T\) = \(6, 4\)"),
        ({"times": np.array([0, 1, 1, 2.0])}, "fault at sample 2"),
        ({"times": np.array([0, np.nan, 1, 2.0])}, "times must increase strictly"),
        ({"times": np.zeros(1), "values": np.zeros((6, 1))}, "1 samples"),
        ({"channels": ("acc_x", "mag_x"), "values": np.zeros((2, 4))}, r"unknown channels \['mag_x'\]"),
    ],
)
def test_streams_name_their_fault(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        stream(**changes)


def test_recordings_need_a_usable_name_and_distinct_placements() -> None:
    with pytest.raises(RecordingError, match="letters, digits"):
        Recording(dataset="d", subject="s", name="a.b", imu=(stream(),))
    with pytest.raises(RecordingError, match="distinct placements"):
        Recording(dataset="d", subject="s", name="a", imu=(stream(), stream()))
    with pytest.raises(RecordingError, match="distinct placements"):
        Recording(dataset="d", subject="s", name="a", imu=())


def test_skeletons_check_their_shape() -> None:
    with pytest.raises(RecordingError, match=r"\(F, J, 3\) = \(2, 1, 3\)"):
        SkeletonTrack(times=np.arange(2.0), joints=np.zeros((2, 2, 3)), names=("head",))


def test_batches_check_their_axes_and_move_together() -> None:
    meta = PairMeta(
        sample=torch.arange(2),
        recording=torch.zeros(2),
        time=torch.zeros(2),
        device=torch.zeros(2, dtype=torch.int64),
        subject=torch.arange(2),
    )
    imu, mask = torch.zeros(2, 6, 5), torch.ones(2, 6, 5, dtype=torch.bool)
    batch = PairBatch(imu=imu, mask=mask, teacher=torch.zeros(2, 3), meta=meta).to("cpu")
    assert torch.equal(batch.meta.sample, torch.arange(2))
    assert batch.with_imu(imu + 1, mask).teacher is batch.teacher
    with pytest.raises(ValueError, match=r"imu and mask must be \(B, C, T\)"):
        PairBatch(imu=imu, mask=mask[:, :, :3], teacher=torch.zeros(2, 3), meta=meta)
    with pytest.raises(ValueError, match="B=2"):
        PairBatch(imu=imu, mask=mask, teacher=torch.zeros(3, 3), meta=meta)


def test_optional_parts_of_a_batch_check_their_axes_and_move_along() -> None:
    meta = PairMeta(**{k: torch.arange(2) for k in ("sample", "recording", "time", "device", "subject")})
    imu, mask = torch.zeros(2, 6, 5), torch.ones(2, 6, 5, dtype=torch.bool)
    devices, clip = torch.zeros(2, 3, 6, 5), torch.zeros(2, 4, 8, 8, 3, dtype=torch.uint8)
    whole = {"devices": devices, "devices_mask": devices > 0}
    others = {"skeleton": torch.zeros(2, 4, 7, 3), "video": clip, "video.depth": clip}
    batch = PairBatch(imu=imu, mask=mask, meta=meta, others=others, **whole)
    assert batch.teacher is None
    moved = batch.to("meta").with_imu(imu, mask)
    for name, value in whole.items():
        assert getattr(moved, name).shape == value.shape
        assert getattr(moved, name).device.type == "meta"
    assert {name: (v.shape, v.device.type) for name, v in moved.others.items()} == {
        name: (v.shape, "meta") for name, v in others.items()
    }
    for wrong, message in (
        ({"devices": devices}, "come together"),
        ({"devices": devices, "devices_mask": devices[:, :1] > 0}, r"\(B, V, C, T\)"),
        ({"devices": devices[..., :4], "devices_mask": devices[..., :4] > 0}, r"\(C, T\)=\(6, 5\)"),
        ({"others": {"skeleton": torch.zeros(2, 4, 7)}}, r"skeleton must be \(B, F, J, 3\)"),
        ({"others": {"skeleton": torch.zeros(2, 4, 7, 2)}}, r"skeleton must be \(B, F, J, 3\)"),
        ({"others": {"video": clip[:1]}}, r"video must be \(B, F, H, W, 3\) uint8 with B=2, got \(1, 4, 8, 8, 3\)"),
        ({"others": {"video": clip.float()}}, r"uint8 with B=2, got \(2, 4, 8, 8, 3\) float32"),
    ):
        with pytest.raises(ValueError, match=message):
            PairBatch(imu=imu, mask=mask, meta=meta, **wrong)


def test_units_of_channels() -> None:
    assert [channel_unit(c) for c in ("acc_z", "gyr_x")] == ["m/s^2", "rad/s"]
