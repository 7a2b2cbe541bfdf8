"""Augmentations: physics kept, masks respected, randomness passed in and the same on any number of ranks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imu_video import registry
from imu_video.bundle.input_spec import fit_input_spec
from imu_video.errors import ConfigError
from imu_video.runtime.distributed import GlobalDraws, World
from imu_video.transforms import (
    Bias,
    Compose,
    Crop,
    CropResize,
    Cutout,
    DropChannel,
    DropSensor,
    Jitter,
    LowRate,
    MagnitudeWarp,
    Permute,
    Rotate,
    Scale,
    Shift,
    SwapAxes,
    TimeWarp,
)
from imu_video.transforms.signal import rotation_matrices


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(rows: int = 16, samples: int = 100) -> tuple[Tensor, Tensor]:
    imu = torch.randn(rows, 6, samples, generator=generator(9))
    imu[:, 2] += 9.8
    return imu, torch.ones_like(imu, dtype=torch.bool)


def test_rotation_matrices_are_rotations() -> None:
    axis, angle = torch.randn(50, 3, generator=generator()), torch.linspace(0, math.pi, 50)
    matrix = rotation_matrices(axis, angle)
    eye = torch.eye(3).expand(50, 3, 3)
    assert torch.allclose(matrix @ matrix.mT, eye, atol=1e-5)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(50), atol=1e-5)
    assert torch.allclose(matrix @ axis[..., None], axis[..., None], atol=1e-5)
    assert torch.allclose(matrix.diagonal(dim1=1, dim2=2).sum(1), 1 + 2 * angle.cos(), atol=1e-5)


def test_rotate_turns_both_sensors_alike_and_keeps_norms() -> None:
    imu, mask = windows()
    imu[:, 3:] = imu[:, :3]
    out, _ = Rotate(max_degrees=180)(imu, mask, generator())
    assert torch.allclose(out[:, :3], out[:, 3:], atol=1e-5)
    assert torch.allclose(out[:, :3].norm(dim=1), imu[:, :3].norm(dim=1), atol=1e-4)
    assert not torch.allclose(out[0], out[1], atol=0.1)


def test_rotate_stays_within_its_angle() -> None:
    imu = torch.zeros(200, 6, 2)
    imu[:, 2] = 1.0
    out, _ = Rotate(max_degrees=20)(imu, torch.ones_like(imu, dtype=torch.bool), generator())
    tilt = torch.rad2deg(torch.acos(out[:, 2, 0].clamp(-1, 1)))
    assert 10 < tilt.max() <= 20.01


def test_rotate_commutes_with_the_normalisation() -> None:
    imu, mask = windows()
    spec = fit_input_spec(imu.numpy(), rate_hz=50, window_s=2)
    rotate = Rotate(max_degrees=180)
    after = spec.normalise(rotate(imu, mask, generator())[0])
    before = rotate(spec.normalise(imu), mask, generator())[0]
    assert torch.allclose(after, before, atol=1e-5)


def test_rotate_leaves_no_half_measured_sensor() -> None:
    imu, mask = windows(rows=3)
    mask[0, 1, 20:30] = False  # an axis for a while
    mask[1, 4] = False  # an axis throughout: no rotation is possible
    mask[2, 3:] = False  # a sensor
    out, out_mask = Rotate(max_degrees=90)(imu, mask, generator())
    assert not out_mask[0, :3, 20:30].any()
    assert out_mask[0, 3:].all()
    assert torch.equal(out_mask[1], mask[1])
    assert torch.equal(out[1], torch.where(mask[1], imu[1], 0))
    assert torch.equal(out_mask[2], mask[2])
    assert not torch.allclose(out[2, :3], imu[2, :3])


def test_scale_is_one_gain_a_sensor() -> None:
    imu, mask = windows()
    ratio = Scale(sigma=0.2)(imu, mask, generator())[0] / imu
    assert torch.allclose(ratio[:, :3], ratio[:, :1, :1].expand(-1, 3, 100), rtol=1e-3)
    assert not torch.allclose(ratio[:, 0], ratio[:, 3], rtol=1e-2)
    log_gain = Scale(sigma=0.2)(torch.ones(4000, 6, 2), torch.ones(4000, 6, 2, dtype=torch.bool), generator())[0].log()
    assert log_gain[:, 0, 0].std().item() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("kind", [Jitter, Bias])
def test_noise_has_its_units(kind: type[Jitter] | type[Bias]) -> None:
    zeros = torch.zeros(500, 6, 20)
    out, _ = kind(acc_sigma=0.5, gyr_sigma=0.01)(zeros, torch.ones_like(zeros, dtype=torch.bool), generator())
    assert out[:, :3].std().item() == pytest.approx(0.5, rel=0.05)
    assert out[:, 3:].std().item() == pytest.approx(0.01, rel=0.05)
    assert bool((out == out[..., :1]).all()) == (kind is Bias)


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_time_warp_is_monotone_and_keeps_the_ends(strength: float) -> None:
    clock = torch.arange(100.0).expand(64, 6, 100)
    mask = torch.ones_like(clock, dtype=torch.bool)
    out, out_mask = TimeWarp(strength=strength, p=1, scale_gyr=False)(clock, mask, generator())
    assert out_mask[..., 1:-1].all()
    assert (out.diff(dim=-1) > 0).all()
    assert out[..., 0].abs().max() < 1e-4
    assert (out[..., -1] - 99).abs().max() < 1e-3
    assert (out - clock).abs().max() > 2


def test_time_warp_scales_turning_by_the_local_rate() -> None:
    """The angle turned over the window does not depend on how fast it was turned through."""
    samples = 400
    time = torch.linspace(0, 1, samples)
    imu = torch.zeros(8, 6, samples)
    imu[:, 3] = 2 * math.pi * torch.sin(math.pi * time)  # integrates to 4 rad
    mask = torch.ones_like(imu, dtype=torch.bool)
    warped, _ = TimeWarp(strength=0.4, p=1)(imu, mask, generator())
    plain, _ = TimeWarp(strength=0.4, p=1, scale_gyr=False)(imu, mask, generator())
    assert torch.allclose(warped[:, 3].mean(-1), imu[:, 3].mean(-1), rtol=0.01)
    assert (plain[:, 3].mean(-1) / imu[:, 3].mean(-1) - 1).abs().max() > 0.03


def test_crop_resize_plays_a_part_slower() -> None:
    time = torch.arange(200) / 50
    imu = torch.zeros(32, 6, 200)
    imu[:, 0] = time
    imu[:, 3] = 1.0
    out, _ = CropResize(min_fraction=0.5, p=1)(imu, torch.ones_like(imu, dtype=torch.bool), generator())
    share = out[:, 0].diff(dim=-1).mean(-1) * 50
    assert ((share > 0.5) & (share < 1)).all()
    assert share.std() > 0.1
    assert torch.allclose(out[:, 3], share[:, None].expand(-1, 200), atol=1e-4)


def test_resampling_in_time_asks_both_neighbours() -> None:
    imu, mask = windows(rows=32)
    mask[..., 40:60] = False
    imu = torch.where(mask, imu, 1e6)
    for augmentation in (TimeWarp(p=1), CropResize(p=1)):
        out, out_mask = augmentation(imu, mask, generator())
        assert out.abs().max() < 100
        assert (~out_mask).any(-1).all()


def test_low_rate_keeps_slow_and_loses_fast_content() -> None:
    time = torch.arange(200) / 50
    imu = torch.zeros(8, 6, 200)
    imu[:, 0] = torch.sin(2 * math.pi * 1.0 * time)
    imu[:, 1] = torch.sin(2 * math.pi * 23.0 * time)
    imu[:, 2] = 9.8
    out, _ = LowRate(max_factor=3, p=1)(imu, torch.ones_like(imu, dtype=torch.bool), generator())
    assert (out[:, 0] - imu[:, 0])[:, 10:-10].abs().max() < 0.1
    assert out[:, 1].square().mean() < 0.1 * imu[:, 1].square().mean()
    assert torch.allclose(out[:, 2], imu[:, 2], atol=1e-4)


def test_low_rate_averages_measured_samples_only() -> None:
    imu = torch.full((4, 6, 60), 9.8)
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[..., 7:20] = False
    mask[..., 33] = False
    out, out_mask = LowRate(max_factor=4, p=1)(torch.where(mask, imu, -50), mask, generator())
    assert torch.equal(out_mask, mask)
    assert torch.allclose(out[mask], imu[mask], atol=1e-4)


def test_cutout_is_one_stretch_on_all_channels() -> None:
    imu, mask = windows(rows=200)
    _, out_mask = Cutout(max_fraction=0.3, p=1)(imu, mask, generator())
    lost = ~out_mask
    assert torch.equal(lost, lost[:, :1].expand_as(lost))
    assert (lost[:, 0].int().diff(dim=-1).abs().sum(-1) <= 2).all()
    assert lost.float().mean(-1).max() <= 0.31
    assert lost.float().mean(-1).max() > 0.2
    only = torch.zeros_like(mask)
    only[..., 50] = True
    assert Cutout(max_fraction=0.9, p=1)(imu, only, generator())[1].any((1, 2)).all()


def test_crop_keeps_one_stretch_on_all_channels() -> None:
    imu, mask = windows(rows=200)
    out, kept = Crop(min_fraction=0.2, p=1)(imu, torch.ones_like(mask), generator())
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert (kept[:, 0].int().diff(dim=-1).abs().sum(-1) <= 2).all()
    share = kept.float().mean((1, 2))
    assert share.min() >= 0.19
    assert share.max() > 0.95
    assert torch.equal(out[kept], imu[kept])
    only = torch.zeros_like(mask)
    only[..., 50] = True
    assert Crop(min_fraction=0.05, p=1)(imu, only, generator())[1].any((1, 2)).all()


def test_rotation_about_gravity_keeps_the_tilt() -> None:
    imu, _ = windows(rows=50)
    full = torch.ones_like(imu, dtype=torch.bool)
    out, _ = Rotate(max_degrees=180, axis="gravity")(imu, full, generator())
    assert torch.allclose(out[:, :3].mean(-1), imu[:, :3].mean(-1), atol=1e-4)
    along = torch.nn.functional.normalize(imu[:, :3].mean(-1), dim=1)
    for rows in (slice(0, 3), slice(3, 6)):
        assert torch.allclose(*((along[:, :, None] * x[:, rows]).sum(1) for x in (out, imu)), atol=1e-4)
        assert not torch.allclose(out[:, rows], imu[:, rows], atol=0.1)
    lost = full.clone()
    lost[:, :3] = False
    assert torch.equal(Rotate(max_degrees=180, axis="gravity")(imu, lost, generator())[0][:, 3:], imu[:, 3:])


def test_shift_moves_values_and_mask() -> None:
    clock = torch.arange(1.0, 101.0).expand(64, 6, 100)
    mask = torch.ones_like(clock, dtype=torch.bool)
    out, out_mask = Shift(max_fraction=0.2)(clock, mask, generator())
    moved = (~out_mask[:, 0]).sum(-1)
    assert moved.max() > 10
    assert moved.max() <= 20
    for row, seen in zip(out[:, 0], out_mask[:, 0], strict=True):
        assert (row[seen].diff() == 1).all()


def test_drop_channel_drops_one_measured_channel_but_never_the_last() -> None:
    imu, mask = windows(rows=300)
    mask[:150, :2] = False
    mask[290:] = False
    mask[290:, 5] = True
    _, out_mask = DropChannel(p=1)(imu, mask, generator())
    left = out_mask.any(-1)
    assert (left[:150].sum(1) == 3).all()
    assert (left[150:290].sum(1) == 5).all()
    assert (left[290:].sum(1) == 1).all()
    assert (~left[150:290]).any(0).all()


def test_drop_sensor_never_drops_both() -> None:
    imu, mask = windows(rows=400)
    mask[:50, :3] = False
    mask[50:100, 3:] = False
    _, out_mask = DropSensor(p=1, accelerometer=0.5)(imu, mask, generator())
    acc, gyr = out_mask[:, :3].any((1, 2)), out_mask[:, 3:].any((1, 2))
    assert (acc | gyr).all()
    assert torch.equal(out_mask[:100], mask[:100])
    assert (acc[100:] ^ gyr[100:]).all()
    assert 0.3 < acc[100:].float().mean() < 0.7
    alone = torch.ones(4, 3, 10)
    assert DropSensor(p=1)(alone, torch.ones_like(alone, dtype=torch.bool), generator())[1].all()


def test_rows_change_with_their_probability() -> None:
    imu, mask = windows(rows=2000, samples=4)
    out, _ = Jitter(p=0.3)(imu, mask, generator())
    changed = (out != imu).any(-1).any(-1).float().mean().item()
    assert changed == pytest.approx(0.3, abs=0.04)


ENTRIES: list[dict[str, Any]] = [{"name": name, "p": 0.7} for name in registry.augmentations.names()]


def test_several_ranks_see_what_one_process_sees() -> None:
    imu, mask = windows(rows=12)
    mask[3, :, 20:40] = False
    imu = torch.where(mask, imu, 0)
    augment = Compose.build(ENTRIES)
    whole, whole_mask = augment(imu, mask, generator(3))
    for size in (2, 3):
        parts = []
        for rank in range(size):
            here = World(rank=rank, size=size)
            rows = here.rows(12)
            parts.append(augment(imu[rows], mask[rows], GlobalDraws(generator(3), here)))
        assert torch.equal(torch.cat([p[0] for p in parts]), whole)
        assert torch.equal(torch.cat([p[1] for p in parts]), whole_mask)


def test_another_seed_is_another_view() -> None:
    imu, mask = windows()
    augment = Compose.build([{"name": "rotate"}, "jitter"])
    assert not torch.equal(augment(imu, mask, generator(0))[0], augment(imu, mask, generator(1))[0])
    same, same_mask = Compose.build([])(imu, mask, generator())
    assert torch.equal(same, imu)
    assert torch.equal(same_mask, mask)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "rotate", "max_degrees": 200},
        {"name": "scale", "sigma": -0.1},
        {"name": "jitter", "p": 1.5},
        {"name": "jitter", "acc_sigma": math.nan},
        {"name": "time_warp", "knots": 0},
        {"name": "crop_resize", "min_fraction": 0},
        {"name": "low_rate", "max_factor": 1},
        {"name": "drop_sensor", "accelerometer": 2},
        {"name": "rotat"},
    ],
    ids=str,
)
def test_bad_arguments_are_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Compose.build([entry])


@pytest.mark.parametrize("shape", [(2, 100, 6), (6, 100), (2, 4, 100)])
def test_wrong_axes_are_refused(shape: tuple[int, ...]) -> None:
    imu = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"\(B, C, T\)"):
        Jitter()(imu, torch.ones_like(imu, dtype=torch.bool), generator())


def test_a_chain_leaves_global_random_state_alone() -> None:
    """Nothing here touches numpy's or torch's global state, even through a whole chain."""
    imu, mask = windows()
    before = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
    Compose.build(ENTRIES)(imu, mask, generator())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state(legacy=False)) == str(before[1])  # noqa: NPY002


@pytest.mark.parametrize("samples", [2, 7, 40, 101])
def test_permute_moves_whole_pieces(samples: int) -> None:
    rows, least = 200, 5
    imu = torch.arange(float(samples)).expand(rows, 6, samples).contiguous()
    mask = imu % 3 > 0
    out, out_mask = Permute(max_segments=4, min_samples=least, p=1)(imu, mask, generator())
    place, _ = Permute(max_segments=4, min_samples=least, p=1)(imu, torch.ones_like(mask), generator())
    assert torch.equal(place.sort(dim=-1).values, imu)  # every sample once
    assert torch.equal(out_mask, place % 3 > 0)  # the mask moves with the samples
    assert torch.equal(out, torch.where(out_mask, place, 0.0))
    jumps = place[:, 0].diff(dim=-1) != 1
    assert int(jumps.sum(1).max()) <= 3
    assert 0.3 < (jumps.sum(1) > 0).float().mean() < 1 or samples == 2
    if samples >= 4 * least:
        for row in jumps.nonzero().tolist():
            cuts = [0, *[j + 1 for i, j in jumps.nonzero().tolist() if i == row[0]], samples]
            assert min(b - a for a, b in pairwise(cuts)) >= least


def test_magnitude_warp_keeps_directions_and_has_the_asked_spread() -> None:
    imu = torch.randn(2000, 6, 64, generator=generator(1))
    mask = torch.ones_like(imu, dtype=torch.bool)
    out, _ = MagnitudeWarp(sigma=0.2)(imu, mask, generator())
    cosine = torch.nn.functional.cosine_similarity(out[:, :3], imu[:, :3], dim=1)
    assert float(cosine.min()) > 1 - 1e-5
    log = (out[:, 0] / imu[:, 0]).log()
    assert float(log.std()) == pytest.approx(0.2, rel=0.05)
    other = (out[:, 3] / imu[:, 3]).log()
    assert not torch.allclose(log, other, atol=1e-3)


def test_published_gains_are_linear_and_per_channel() -> None:
    imu, mask = windows(rows=400)
    out, _ = Scale(sigma=0.3, factor="linear", per="channel")(imu, mask, generator(5))
    draws = GlobalDraws(generator(5))
    draws.uniform(400)  # which rows change
    expected = imu * (1 + 0.3 * draws.normal(400, 6, 1))
    assert torch.allclose(out, expected)
    # On the absolute value, a linear gain is symmetric around 1: a log-normal one is not.
    gain = out[:, 2, 0] / imu[:, 2, 0]
    assert float(gain.mean()) == pytest.approx(1, abs=0.05)
    assert float(gain.min()) < 0.4


def test_axes_out_of_a_cube_prefer_its_corners() -> None:
    ones = torch.ones(4000, 6, 1)
    mask = torch.ones_like(ones, dtype=torch.bool)
    # A rotation by 180 degrees maps x to 2 (x.a) a - x, so the mean of (x.a)^2 over axes can be read from the result.
    shares = {}
    for axis in ("sphere", "cube"):
        rotate = Rotate(max_degrees=180, axis=axis)
        out, _ = rotate(ones, mask, generator(2))
        assert torch.allclose(out.norm(dim=1), ones.norm(dim=1), atol=1e-5)
        draws = GlobalDraws(generator(2))
        draws.uniform(4000)
        drawn = draws.normal(4000, 3) if axis == "sphere" else 2 * draws.uniform(4000, 3) - 1
        shares[axis] = float(torch.nn.functional.normalize(drawn, dim=1).abs().amax(1).mean())
        angle = draws.uniform(4000) * math.pi
        expected = rotation_matrices(drawn, angle) @ ones[:, :3]
        assert torch.allclose(out[:, :3], expected, atol=1e-5)
    assert shares["cube"] < shares["sphere"], "corners of the cube are directions of equal coordinates"


def test_swapped_axes_are_one_order_for_both_sensors() -> None:
    imu = torch.arange(6.0)[None, :, None].repeat(300, 1, 2)
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[:, 1] = False
    _, out_mask = SwapAxes()(imu, mask, generator())
    orders = out_mask[:, :3, 0].logical_not().nonzero()[:, 1]
    assert set(orders.tolist()) == {0, 1, 2}, "the missing axis moves with its values"
    complete, _ = SwapAxes()(imu, torch.ones_like(mask), generator())
    assert torch.equal(complete[:, 3:], complete[:, :3] + 3)
    assert len({tuple(row) for row in complete[:, :3, 0].tolist()}) == 6


@pytest.mark.parametrize("samples", [30, 101])
def test_a_spline_warp_is_the_published_one(samples: int) -> None:
    """Against numpy and scipy: cumulated spline through random knots, values placed there and read on the grid."""
    from scipy.interpolate import CubicSpline

    imu, mask = windows(rows=3, samples=samples)
    warp = TimeWarp(strength=0.2, curve="spline", scale_gyr=False, p=1)
    out, out_mask = warp(imu.double(), mask, generator(4))
    draws = GlobalDraws(generator(4))
    draws.uniform(3)
    heights = 1 + 0.2 * draws.normal(3, 6, 6).double().numpy()
    grid = np.arange(samples)
    for row in range(3):
        for channel in range(6):
            curve = CubicSpline(np.linspace(0, samples - 1, 6), heights[row, channel])(grid)
            place = np.cumsum(curve) * (samples - 1) / np.cumsum(curve)[-1]
            expected = np.interp(grid, place, imu[row, channel].double().numpy())
            assert np.allclose(out[row, channel].numpy(), expected, atol=1e-9)
    assert out_mask.all()
    with pytest.raises(ConfigError, match="own warp"):
        TimeWarp(curve="spline")


def test_permute_with_a_fixed_number_of_segments() -> None:
    imu = torch.arange(60.0).expand(500, 6, 60).contiguous()
    out, _ = Permute(max_segments=5, min_samples=1, number="max", p=1)(imu, imu >= 0, generator())
    assert torch.equal(out.sort(dim=-1).values, imu)
    jumps = (out[:, 0].diff(dim=-1) != 1).sum(1)
    assert int(jumps.max()) == 4
    assert float((jumps == 4).float().mean()) > 0.2  # of random orders of five, those without two neighbours in order
