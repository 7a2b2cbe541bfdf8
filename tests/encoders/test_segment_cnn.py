"""segment_cnn: keeps the order in time, follows the measured stretch, refuses what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imu_video.encoders import SegmentCNN
from imu_video.errors import ConfigError
from imu_video.testing import check_encoder


def small(**options: Any) -> SegmentCNN:
    torch.manual_seed(0)
    return SegmentCNN(**{"width": 16, "blocks": 2, **options}).eval()


def means(model: SegmentCNN, features: torch.Tensor) -> torch.Tensor:
    """(B, W, S): the segment means without the maxima."""
    width = features.shape[1] // (model.segments + 1)
    return features[:, : width * model.segments].unflatten(1, (width, model.segments))


@pytest.mark.parametrize("options", [{"norm": "group"}, {"segments": 1}, {"stride": 1}, {"channels": 3}], ids=str)
def test_options_keep_the_contract(options: dict[str, Any]) -> None:
    check_encoder({"name": "segment_cnn", "width": 16, "blocks": 2, **options})


def test_each_segment_sees_its_part() -> None:
    model = small()
    x = torch.randn(1, 6, 200, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., 180:] += 3
    before, after = (means(model, model(v)) for v in (x, changed))
    moved = (before - after).abs().amax((0, 1))
    assert moved[3] > 0.1
    assert moved[:2].max() < 1e-4


def test_the_stretch_is_followed_wherever_it_lies() -> None:
    model = small()
    trial = torch.randn(1, 6, 96, generator=torch.Generator().manual_seed(1))
    features = []
    for start in (120, 176):  # multiples of the network's step of 8, away from the borders
        x = torch.zeros(1, 6, 400)
        x[..., start : start + 96] = trial
        mask = torch.zeros_like(x, dtype=torch.bool)
        mask[..., start : start + 96] = True
        features.append(model(x, mask))
    assert torch.allclose(features[0], features[1], atol=1e-4)


def test_a_mean_would_not_tell_order_but_segments_do() -> None:
    x = torch.randn(1, 6, 200, generator=torch.Generator().manual_seed(2))
    swapped = torch.cat([x[..., 100:], x[..., :100]], dim=-1)
    one, four = small(segments=1), small()
    gap = [(means(m, m(x)) - means(m, m(swapped))).norm() / means(m, m(x)).norm() for m in (one, four)]
    assert gap[0] < 0.5 * gap[1]


@pytest.mark.parametrize("options", [{"width": 12}, {"kernel": 4}, {"segments": 0}, {"blocks": 1}], ids=str)
def test_refusals(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="segment_cnn"):
        SegmentCNN(**options)


def test_a_window_without_batch_axis_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"add the batch axis with imu\[None\]"):
        SegmentCNN()(torch.zeros(6, 100))
