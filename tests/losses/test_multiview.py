"""ColloSSL: the checks E1 to E5 of the methods, missing devices, draws, and device distances on a real recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.errors import ConfigError
from imu_video.losses import ColloSSL, LossMix
from imu_video.losses.functional import (
    derangement,
    device_distances,
    device_weights,
    mean_distances,
    mmd,
    motion,
    multiview_nce,
    scramble,
    select_devices,
)
from imu_video.types import GRAVITY, PairEmbeddings, PairMeta
from tests.reference import naive_losses as naive


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(n: int = 8, devices: int = 4, **extra: object) -> PairEmbeddings:
    rows = torch.arange(n)
    meta = PairMeta(sample=rows, recording=rows // 2, time=3.0 * (rows % 2), device=0 * rows, subject=0 * rows)
    z = normalize(noise(n, devices, 6), dim=-1)
    gains = 1.0 + torch.arange(devices)[:, None, None]
    fields = {
        "imu": z[:, 0],
        "devices": z,
        "devices_imu": gains * noise(n, devices, 6, 12, seed=1),
        "meta": meta,
        **extra,
    }
    return PairEmbeddings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("gap", [-1.0, 0.0, 0.5])
def test_e1_the_sign_is_right(gap: float) -> None:
    """The loss falls as the positive comes nearer, rises as the negative does; two-way log(1 + e^((c_n - c_p)/t))."""
    t = 0.05
    cosines = torch.tensor([0.2, 0.2 + gap], dtype=torch.float64, requires_grad=True)
    loss = multiview_nce(cosines[None, :1] / t, cosines[None, 1:] / t)[0]
    assert loss.item() == pytest.approx(math.log1p(math.exp(gap / t)), rel=1e-9, abs=1e-12)
    positive, negative = torch.autograd.grad(loss, cosines)[0]
    assert positive < 0 < negative


def test_e1_training_pulls_synchronous_devices_together() -> None:
    p = batch()
    z = p.devices.clone().requires_grad_()  # type: ignore[union-attr]
    loss, rate = ColloSSL(), 0.05
    first = loss(PairEmbeddings(imu=p.imu, devices=z, devices_imu=p.devices_imu, meta=p.meta))
    (grad,) = torch.autograd.grad(first.total, z)
    stepped = normalize(z.detach() - rate * grad, dim=-1)
    second = loss(PairEmbeddings(imu=p.imu, devices=stepped, devices_imu=p.devices_imu, meta=p.meta))
    assert second.total < first.total
    assert second.stats["positive"] > first.stats["positive"]


def test_e2_mmd_equals_the_loop_and_has_its_properties() -> None:
    x, y = noise(7, 5), 1.3 * noise(6 + 1, 5, seed=1)
    for unbiased in (False, True):
        assert mmd(x, y, unbiased=unbiased).item() == pytest.approx(naive.mmd(x, y, unbiased), rel=1e-9)
    assert mmd(x, x).item() == pytest.approx(0, abs=1e-12)
    assert mmd(x, y).item() == pytest.approx(mmd(y, x).item())
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    assert mmd(x[order], y).item() == pytest.approx(mmd(x, y).item())
    rising = [mmd(x, gain * x).item() for gain in (1.0, 1.1, 1.3, 1.7, 2.5)]
    assert rising == sorted(set(rising))
    some = torch.tensor([1, 1, 0, 1, 1, 0, 1], dtype=torch.bool)
    assert mmd(x, y, some).item() == pytest.approx(mmd(x[some], y[some]).item())
    assert mmd(x, y, torch.zeros(7).bool()) == 0


def test_e2_bias_of_the_published_estimate() -> None:
    """Two halves of one source: U-statistic about 0, V-statistic at most 24 / n more; saturated, exactly 24 / n."""
    n = 50
    halves = [(noise(n, 8, seed=s), noise(n, 8, seed=100 + s)) for s in range(20)]
    unbiased = torch.stack([mmd(x, y, unbiased=True) for x, y in halves])
    biased = torch.stack([mmd(x, y) for x, y in halves])
    assert abs(unbiased.mean()) < 2.5 * unbiased.std() / math.sqrt(20)
    assert (biased - unbiased > 0).all()
    assert (biased - unbiased <= 24 / n).all()
    far = 1e4 * noise(n, 8), 1e4 * noise(n, 8, seed=1)  # in milli-g, say: no kernel is wide enough
    assert mmd(*far).item() == pytest.approx(24 / n)
    assert mmd(*far, unbiased=True).item() == pytest.approx(0, abs=1e-12)


def test_distances_are_floored_symmetric_and_of_moments_worn_together() -> None:
    views = noise(9, 3, 6, 10)
    views[:, 1] = views[:, 0]
    present = torch.ones(9, 3, dtype=torch.bool)
    present[:4, 2] = False
    d = device_distances(motion(views, unit="g"), present)
    assert torch.equal(d, d.T)
    assert d[0, 1] == 1e-4
    curves = motion(views, unit="g")[:, :, 0]
    assert d[0, 2].item() == pytest.approx(mmd(curves[4:, 0], curves[4:, 2]).item())
    axes = device_distances(motion(views, unit="g", on="axes"), present)
    each = [mmd(views[4:, 0, a] / GRAVITY, views[4:, 2, a] / GRAVITY) for a in range(3)]
    assert axes[0, 2].item() == pytest.approx(sum(float(e) for e in each) / 3)


@pytest.mark.realdata
def test_e6_units_decide_which_device_is_near_on_a_patient(real_data_unpacked: Callable[[str], Path]) -> None:
    """Daphnet S06R02: in g and in (m/s^2)/30 the leg is nearer to the ankle, in m/s^2 the trunk is."""
    rows = np.loadtxt(real_data_unpacked("daphnet-fog") / "dataset" / "S06R02.txt")
    rows = rows[rows[:, 10] > 0] if (rows[:, 10] > 0).any() else rows
    cut = rows[: 110 * 64, 1:10].reshape(110, 64, 3, 3).transpose(0, 2, 3, 1) / 1000 * GRAVITY
    views = torch.zeros(110, 3, 6, 64, dtype=torch.float64)
    views[:, :, :3] = torch.from_numpy(cut)
    worn = torch.ones(110, 3, dtype=torch.bool)
    seen = {u: device_distances(motion(views, unit=u), worn)[0, 1:].tolist() for u in ("g", "si_over_30", "si")}  # type: ignore[arg-type]
    assert seen["g"] == pytest.approx([0.90, 1.76], abs=0.01)
    assert seen["si_over_30"] == pytest.approx([0.48, 0.82], abs=0.01)
    assert seen["si"] == pytest.approx([0.44, 0.38], abs=0.01)


@pytest.mark.parametrize(
    ("policy", "positives", "negatives"),
    [
        ("closest_only", [1], [1]),
        ("closest_pos_all_neg", [1], [1, 2, 3, 4]),
        ("closest_pos_rest_neg", [1], [2, 3, 4]),
        ("hard_negative", [1], [2, 3]),
        ("harder_negative", [4], [1, 2]),
        ("closest_two", [1], [2]),
        ("closest_two_reverse", [2], [1]),
        ("mid_selection", [2, 3], [4]),
    ],
)
def test_e3_policies_on_five_devices(policy: str, positives: list[int], negatives: list[int]) -> None:
    """One signal on five devices, gain rising with the number: device k is the k-th nearest of device 0."""
    views = noise(30, 1, 6, 10) * (1 + 0.4 * torch.arange(5.0))[None, :, None, None]
    shuffled = [0, 3, 1, 4, 2]  # so that position and distance differ
    distances = device_distances(motion(views[:, shuffled], unit="si"), torch.ones(30, 5, dtype=torch.bool))
    chosen = select_devices(distances[0, 1:], policy)  # type: ignore[arg-type]
    assert [[shuffled[1 + i] for i in side.tolist()] for side in chosen] == [positives, negatives]


def test_e3_policies_that_draw_lots() -> None:
    distances = torch.tensor([0.1, 0.2, 0.3, 0.4])
    for salt in range(5):
        draw = scramble(torch.arange(4), salt)
        one, some = select_devices(distances, "closest_pos_random_neg", draw=draw)
        assert one.tolist() == [0]
        assert some.tolist() == [1 + int(draw[1:].argmin())]
        lot, everyone = select_devices(distances, "random", draw=draw)
        assert lot.tolist() == [int(draw.argmin())]
        assert sorted(everyone.tolist()) == [0, 1, 2, 3]
    drawn = {int(select_devices(distances, "random", draw=scramble(torch.arange(4), s))[0]) for s in range(50)}
    assert drawn == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="draw"):
        select_devices(distances, "random")


def test_e3_too_few_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs 5 devices, the data has 3"):
        ColloSSL(policy="harder_negative")(batch(devices=3))
    with pytest.raises(ConfigError, match="anchor 4"):
        ColloSSL(anchor=4)(batch())


@pytest.mark.parametrize("n", [2, 3, 10, 257])
def test_e4_derangements_have_no_fixed_point(n: int) -> None:
    seen = set()
    for step in range(20):
        moved = derangement(scramble(torch.arange(n), 7, torch.tensor(step)))
        assert sorted(moved.tolist()) == list(range(n))
        assert (moved != torch.arange(n)).all()
        seen.add(tuple(moved.tolist()))
    assert len(seen) == {2: 1, 3: 2}.get(n, 20)


def test_e4_one_window_alone_has_nowhere_to_go() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        ColloSSL()(batch(1))


def test_e4_no_negative_is_of_the_same_moment() -> None:
    """Every row twice, as when a batch shows one moment through two devices: its copy is no negative."""
    p = batch(4)
    twice = p.apply(lambda x: torch.cat([x, x]))
    assert twice.meta is not None
    twice = PairEmbeddings(
        imu=twice.imu,
        devices=twice.devices,
        devices_imu=twice.devices_imu,
        meta=PairMeta(**{**vars(twice.meta), "sample": torch.arange(8)}),
    )
    device = twice.devices[:, 1].clone().requires_grad_()  # type: ignore[index]
    loss = ColloSSL(anchor=0, policy="closest_only", negatives_per_device=7, weights="none")
    others = torch.stack([twice.devices[:, 0], device], 1)  # type: ignore[index]
    views = twice.devices_imu[:, :2]  # type: ignore[index]
    for i in range(8):
        (grad,) = torch.autograd.grad(
            loss(PairEmbeddings(imu=twice.imu, devices=mask_row(others, i), devices_imu=views, meta=twice.meta)).total,
            device,
        )
        # Row i alone is an anchor: its own device 1 is the positive, the copy's must feel nothing.
        assert grad[i].abs().max() > 0
        assert grad[(i + 4) % 8].abs().max() == 0


def mask_row(devices: Tensor, row: int) -> Tensor:
    """Anchors of all other rows set to zero, so that device 1 feels this row's loss alone."""
    out = devices.clone()
    for k in range(len(out)):
        if k != row:
            out[k, 0] = 0.0
    return out


def test_e4_draws_follow_the_step_and_the_seed_only() -> None:
    p = batch()
    loss = ColloSSL(seed=1)
    values = []
    for _ in range(3):
        values.append(loss(p).total.item())
        assert loss(p).total.item() == values[-1]
        loss.observe(p)
    assert len(set(values)) == 3
    again = ColloSSL(seed=1)
    again.load_state_dict(loss.state_dict())
    assert again(p).total.item() == loss(p).total.item()
    assert ColloSSL(seed=2)(p).total.item() != values[0]


def test_e5_weights() -> None:
    distances = torch.tensor([0.5, 0.01, 2.0])
    assert device_weights(distances, 1).tolist() == pytest.approx([0.01, 0.02, 1.0, 0.005])
    assert device_weights(distances, 1, "mean1").mean().item() == pytest.approx(1)
    assert device_weights(distances, 2, "none").tolist() == pytest.approx([1, 1, 2, 100, 0.5])
    assert device_weights(torch.full((3,), 0.7), 1, "max")[1:].unique().numel() == 1
    assert device_weights(torch.ones(3), 1, "max").tolist() == [1, 1, 1, 1]


def test_one_positive_and_one_negative_device_is_a_two_way_contrast() -> None:
    p = batch(devices=2)
    loss = ColloSSL(anchor=0, weights="none", floor=1.0)  # identical floors: weights 1
    views = p.devices_imu[:, :1].expand(-1, 2, -1, -1)  # type: ignore[index]
    two = PairEmbeddings(imu=p.imu, devices=p.devices, devices_imu=views, meta=p.meta)
    moved = derangement(scramble(torch.arange(8), 0, 0, 2, 0))
    z = p.devices
    assert z is not None
    assert p.meta is not None
    c_p, c_n = (z[:, 0] * z[:, 1]).sum(1), (z[:, 0] * z[moved, 1]).sum(1)
    assert loss(two).total.item() == pytest.approx(torch.log1p(((c_n - c_p) / 0.05).exp()).mean().item(), rel=1e-6)


def test_devices_not_worn_are_left_out() -> None:
    p = batch(devices=3)
    present = torch.ones(8, 3, dtype=torch.bool)
    present[2, 0] = present[5, 1] = present[5, 2] = False
    z = p.devices.clone().requires_grad_()  # type: ignore[union-attr]
    worn = PairEmbeddings(imu=p.imu, devices=z, devices_present=present, devices_imu=p.devices_imu, meta=p.meta)
    total = ColloSSL(anchor=0, negatives_per_device=3)(worn).total
    (grad,) = torch.autograd.grad(total, z)
    assert total.isfinite()
    assert (grad[~present] == 0).all()
    assert grad[5, 0].abs().max() == 0  # an anchor without any positive
    garbage = torch.where(present[..., None], z.detach(), 1e3)
    same = PairEmbeddings(imu=p.imu, devices=garbage, devices_present=present, devices_imu=p.devices_imu, meta=p.meta)
    assert ColloSSL(anchor=0, negatives_per_device=3)(same).total.item() == pytest.approx(total.item(), rel=1e-9)
    nobody = PairEmbeddings(imu=p.imu, devices=z, devices_present=torch.zeros_like(present), devices_imu=p.devices_imu)
    empty = ColloSSL()(nobody).total
    assert empty.item() == 0
    assert torch.autograd.grad(empty, z)[0].isfinite().all()


@pytest.mark.parametrize("unbiased", [False, True])
def test_a_device_that_is_never_worn_with_the_others_changes_nothing(unbiased: bool) -> None:
    p = batch(devices=4)
    present = torch.ones(8, 4, dtype=torch.bool)
    present[:, 1] = False
    if unbiased:
        present[3, 1] = True  # one moment is no distance yet
    d = device_distances(motion(p.devices_imu, unit="g"), present, unbiased=unbiased)  # type: ignore[arg-type]
    assert d[1, [0, 2, 3]].isinf().all()
    assert d[0, [0, 2, 3]].isfinite().all()
    for policy in ("closest_only", "closest_pos_all_neg"):
        z = p.devices.clone().requires_grad_()  # type: ignore[union-attr]
        here = PairEmbeddings(imu=p.imu, devices=z, devices_present=present, devices_imu=p.devices_imu, meta=p.meta)
        out = ColloSSL(anchor=0, unbiased=unbiased, policy=policy)(here)  # type: ignore[arg-type]
        assert out.total > 0
        assert out.stats["distance"].isfinite()
        (grad,) = torch.autograd.grad(out.total, z)
        assert grad.isfinite().all()
        assert (grad[:, 1] == 0).all()
        assert grad[:, [0, 2, 3]].abs().max() > 0


def test_devices_on_which_a_loss_would_stay_zero_are_refused() -> None:
    worn = torch.ones(9, 5, dtype=torch.bool)
    worn[:, 2:] = False
    mix = LossMix.build(["info_nce", {"name": "collossl", "anchor": 1}])
    mix.check_devices(worn)
    with pytest.raises(ConfigError, match="'mid_selection' needs 5 devices, the run has 2"):
        ColloSSL(policy="mid_selection").check_devices(worn)
    for anchor in (3, 9):
        with pytest.raises(ConfigError, match=rf"anchor {anchor} is never worn .* in use: \[0, 1\]"):
            ColloSSL(anchor=anchor).check_devices(worn)


def test_distances_of_many_moments_are_a_mean_over_equal_pieces() -> None:
    curves = motion(noise(41, 3, 6, 10), unit="g")
    present = torch.ones(41, 3, dtype=torch.bool)
    present[20:, 1] = present[:, 2] = False
    present[:3, 2] = True
    mean = mean_distances(curves, present, rows=20, floor=1e-4)
    pieces = [slice(0, 14), slice(14, 28), slice(28, 41)]  # 20, 20 and 1 would give the last the bias of one moment
    each = [device_distances(curves[p], present[p]) for p in pieces]
    assert mean[0, 1].item() == pytest.approx((14 * each[0][0, 1] + 6 * each[1][0, 1]).item() / 20)
    assert mean[0, 2].item() == pytest.approx(each[0][0, 2].item())
    assert torch.equal(mean, mean.T)
    assert (mean.diagonal() == 1e-4).all()
    present[:, 2] = False
    nowhere = mean_distances(curves, present, rows=20, floor=1e-4)
    assert nowhere[2].tolist() == [math.inf, math.inf, 1e-4]
    whole = mean_distances(curves, present, rows=41, floor=1e-4)
    assert torch.equal(whole, device_distances(curves, present))


def test_a_priori_distances_are_computed_once_and_kept() -> None:
    p = batch(40)
    loss = ColloSSL(distances="a_priori", a_priori_rows=40)
    assert loss.warm_rows == 40
    with pytest.raises(ConfigError, match="warm_start"):
        loss(p)
    assert p.meta is not None
    views = p.devices_imu.clone()  # type: ignore[union-attr]
    views[:10, 3] = math.nan  # not worn
    loss.warm_start(meta=p.meta, devices=views)
    worn = views.isfinite().flatten(2).any(2)
    expected = device_distances(motion(views.nan_to_num().float(), unit="si_over_30"), worn)
    assert torch.allclose(loss.table, expected)
    value = loss(p).total.item()
    other = PairEmbeddings(imu=p.imu, devices=p.devices, devices_imu=5 * p.devices_imu, meta=p.meta)  # type: ignore[operator]
    assert loss(other).total.item() == value  # the batch's own windows do not matter
    again = ColloSSL(distances="a_priori")
    again.load_state_dict(loss.state_dict())
    assert again(p).total.item() == value


@pytest.mark.parametrize(
    "options",
    [
        {"anchor": -1},
        {"temperature": 0.0},
        {"negatives_per_device": 0},
        {"a_priori_rows": 1},
        {"floor": 0.0},
        {"gap_s": -1.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_bad_arguments_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="collossl"):
        ColloSSL(**options)  # type: ignore[arg-type]
