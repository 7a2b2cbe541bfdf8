"""Two-view losses and segment alignment: what they are indifferent to, and what they are not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.errors import ConfigError
from imu_video.losses import BarlowTwins, InfoNCE, NTXent, PairLoss, SegmentAlignment, VICReg
from imu_video.losses.functional import warped_similarity, warps
from imu_video.types import PairEmbeddings


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_nt_xent_of_identical_embeddings_is_the_log_of_the_others() -> None:
    same = torch.ones(4, 3) / math.sqrt(3)
    assert NTXent()(PairEmbeddings(imu=same, imu_two=same)).total.item() == pytest.approx(math.log(7), rel=1e-6)
    assert NTXent().needs == {"augmented_pair"}
    with pytest.raises(ConfigError, match="augmented_pair"):
        NTXent()(PairEmbeddings(imu=same))


def test_vicreg_of_evenly_spread_embeddings_has_no_variance_term() -> None:
    """Unit vectors times sqrt(D): on the sphere's axes every dimension has a standard deviation of about 1."""
    d = 6
    axes = torch.cat([torch.eye(d), -torch.eye(d)]).double()
    out = VICReg()(PairEmbeddings(imu=axes, imu_two=axes))
    assert out.stats["variance"].item() == pytest.approx(0, abs=1e-4)
    assert out.stats["covariance"].item() == pytest.approx(0, abs=1e-12)
    collapsed = VICReg()(PairEmbeddings(imu=axes[:1].expand(8, -1), imu_two=axes[:1].expand(8, -1)))
    assert collapsed.stats["variance"].item() == pytest.approx(2 * (1 - 0.01), rel=1e-6)  # sqrt(eps) = 0.01 is left


def test_barlow_twins_of_independent_dimensions_is_0() -> None:
    corners = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).double() / math.sqrt(3)
    assert BarlowTwins()(PairEmbeddings(imu=corners, imu_two=corners)).total.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [VICReg(), BarlowTwins()], ids=["vicreg", "barlow_twins"])
def test_statistics_need_two_rows(loss: PairLoss) -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        loss(PairEmbeddings(imu=unit(1, 4), imu_two=unit(1, 4)))


def test_between_names_what_is_needed() -> None:
    for loss in (VICReg(between="side"), BarlowTwins(between="side")):
        assert loss.needs == {"side"}
        assert loss(PairEmbeddings(imu=unit(4, 3), sides={"video": unit(4, 3, seed=1)})).total.isfinite()


def test_one_straight_path_is_the_mean_cosine() -> None:
    x, y = unit(3, 5, 8), unit(4, 5, 8, seed=1)
    straight = warped_similarity(x, y, warps(5, max_shift=0, dilations=[1.0]), sharpness=0.1)
    assert torch.allclose(straight, torch.einsum("isd,jsd->ij", x, y) / 5)


def test_one_segment_is_info_nce() -> None:
    x, y = unit(6, 1, 8), unit(6, 1, 8, seed=1)
    aligned = SegmentAlignment(temperature=0.1)(
        PairEmbeddings(imu=x[:, 0], imu_segments=x, side_segments={"video": y})
    ).total
    plain = InfoNCE(temperature=0.1, learned=False)(PairEmbeddings(imu=x[:, 0], sides={"video": y[:, 0]})).total
    assert aligned.item() == pytest.approx(plain.item(), rel=1e-6)


def test_paths_shift_dilate_and_keep_half_in_common() -> None:
    paths = warps(4, max_shift=3, dilations=[1.0])
    assert len(paths) == 5  # by 3 segments only one of four would be left
    assert torch.allclose(paths.sum((1, 2)), torch.ones(5))
    slow = warps(4, max_shift=0, dilations=[0.5])
    assert slow[0].nonzero().tolist() == [[0, 1], [1, 1], [2, 2], [3, 2]]
    fast = warps(5, max_shift=0, dilations=[2.0])
    assert fast[0].nonzero().tolist() == [[1, 0], [2, 2], [3, 4]]
    assert len(warps(4, max_shift=0, dilations=[1.0, 1.01])) == 1  # the same path counts once


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_shifted_clip_is_forgiven_where_the_mean_is_not(shift: int) -> None:
    """Segments of one clip are unlike each other; moved by one, they match nowhere without a shift."""
    x = torch.eye(12, dtype=torch.float64).reshape(2, 6, 12)
    moved = x.roll(shift, 1)
    rigid = warped_similarity(x, moved, warps(6, max_shift=0, dilations=[1.0]), sharpness=0.02)
    loose = warped_similarity(x, moved, warps(6, max_shift=1, dilations=[1.0]), sharpness=0.02)
    assert rigid.diagonal().tolist() == [0, 0]
    assert (loose.diagonal() > 0.95).all()
    assert loose[0, 1] < 0.05


def test_another_tempo_is_forgiven() -> None:
    time = torch.linspace(-1, 1, 8, dtype=torch.float64)

    def clip(tempo: float, phase: float) -> Tensor:
        angle = 2.0 * tempo * time + phase
        return torch.stack([angle.cos(), angle.sin()], -1)

    window = clip(1.0, 0.0)[None]
    slower = clip(0.5, 0.0)[None]
    loose = warped_similarity(window, slower, warps(8, max_shift=0, dilations=[0.5, 1.0, 2.0]), sharpness=0.01)
    rigid = warped_similarity(window, slower, warps(8, max_shift=0, dilations=[1.0]), sharpness=0.01)
    assert loose.item() > rigid.item() + 0.05


def test_the_similarity_of_a_pair_is_the_same_from_both_sides() -> None:
    x, y = unit(3, 4, 6), unit(3, 4, 6, seed=1)
    paths = warps(4, max_shift=1, dilations=[0.5, 1.0])
    forth = warped_similarity(x, y, paths, sharpness=0.1)
    back = warped_similarity(y, x, paths.mT, sharpness=0.1)
    assert torch.allclose(forth, back.T)
    assert (forth.abs() <= 1).all()


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (SegmentAlignment, {"max_shift": -1}),
        (SegmentAlignment, {"dilations": ()}),
        (SegmentAlignment, {"dilations": (0.0,)}),
        (SegmentAlignment, {"sharpness": 0.0}),
        (NTXent, {"temperature": 0.0}),
        (VICReg, {"variance": -1.0}),
        (VICReg, {"invariance": 0.0, "variance": 0.0, "covariance": 0.0}),
        (BarlowTwins, {"redundancy": 0.0}),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(build: type[PairLoss], options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(**options)


def test_warps_that_leave_no_path_are_refused() -> None:
    x = unit(3, 4, 6)
    with pytest.raises(ConfigError, match="no warp of 4 segments"):
        SegmentAlignment(dilations=(9.0,))(PairEmbeddings(imu=x[:, 0], imu_segments=x, side_segments={"video": x}))


def test_segments_of_unequal_shape_are_refused() -> None:
    x = unit(3, 4, 6)
    with pytest.raises(ValueError, match=r"\(B, S, D\)"):
        SegmentAlignment()(PairEmbeddings(imu=x[:, 0], imu_segments=x, side_segments={"video": x[:, :2]}))
