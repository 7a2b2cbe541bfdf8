"""The skeleton teacher: normal form and loss follow their definitions, fitting is repeatable and needs no labels."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from imu_video.errors import ConfigError, DataError
from imu_video.runtime.distributed import GlobalDraws
from imu_video.skeletons.augmentation import SkeletonAugmentation
from imu_video.skeletons.geometry import held_ends_removed, level, streams, turn_to_front
from imu_video.teachers.skeleton import SkeletonTeacher, nt_xent
from imu_video.testing import check_teacher

NAMES = ["pelvis", "neck", "left_hip", "right_hip", "left_hand", "right_hand"]
SMALL: dict[str, Any] = {"joints": NAMES, "frames": 16, "width": 4, "segments": 2, "epochs": 2, "batch": 8}


def people(n: int = 12, seed: int = 0, frames: int = 24) -> torch.Tensor:
    """Upright bodies (y up) whose hands swing at one of two rates."""
    generator = torch.Generator().manual_seed(seed)
    rest = torch.tensor([[0, 1, 0], [0, 1.5, 0], [-0.1, 1, 0], [0.1, 1, 0], [-0.4, 1, 0.1], [0.4, 1, 0.1]])
    x = rest.expand(n, frames, 6, 3) + 0.01 * torch.randn(n, frames, 6, 3, generator=generator)
    t = torch.linspace(0, 2 * math.pi, frames)
    for i in range(n):
        x[i, :, 4:, 1] += 0.3 * torch.sin(t * (1 + 2 * (i % 2)))[:, None]
    return x


@pytest.fixture(scope="module")
def fitted() -> SkeletonTeacher:
    teacher = SkeletonTeacher(**SMALL)
    teacher.fit(people())
    return teacher


def test_contract_of_teachers(fitted: SkeletonTeacher) -> None:
    check_teacher(copy.deepcopy(fitted), inputs=people(3, seed=5))


def test_fitting_is_repeatable_and_the_fingerprint_follows_data_and_seed(fitted: SkeletonTeacher) -> None:
    def other(inputs: torch.Tensor, **arguments: Any) -> SkeletonTeacher:
        teacher = SkeletonTeacher(**{**SMALL, **arguments})
        teacher.fit(inputs)
        return teacher

    torch.manual_seed(123)  # the global state plays no part and is not touched
    state = torch.get_rng_state()
    again = other(people())
    assert torch.equal(torch.get_rng_state(), state)
    assert again.fingerprint == fitted.fingerprint
    assert torch.equal(again.encode(people(seed=2)), fitted.encode(people(seed=2)))
    prints = {t.fingerprint for t in (fitted, other(people(seed=1)), other(people(), seed=1), SkeletonTeacher(**SMALL))}
    assert len(prints) == 4


def test_fitting_trains_and_ends_frozen(fitted: SkeletonTeacher) -> None:
    fresh, after = SkeletonTeacher(**SMALL).encoder, fitted.encoder
    assert fresh is not None
    assert after is not None
    assert not torch.equal(fresh.point[0].weight, after.point[0].weight)
    assert not any(p.requires_grad for p in fitted.parameters())
    assert not any(m.training for m in fitted.train().modules())
    assert not fitted.encode(people(2)).requires_grad


def test_progress_counts_updates(logged: Any) -> None:
    SkeletonTeacher(**SMALL).fit(people(20))
    assert logged.progress == [(i + 1, 4, "fit") for i in range(4)]  # two full batches of eight, twice


def test_nt_xent_equals_loops() -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = [row / math.sqrt(sum(v * v for v in row)) for row in z.numpy()]
    total = 0.0
    for i in range(6):
        scores = {j: math.exp(float(np.dot(unit[i], unit[j])) / 0.3) for j in range(6) if j != i}
        total -= math.log(scores[(i + 3) % 6] / sum(scores.values()))
    assert float(nt_xent(z, 0.3)) == pytest.approx(total / 6, abs=1e-12)


def test_supervised_nt_xent_equals_loops_and_is_nt_xent_where_every_class_is_alone() -> None:
    z = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    unit = z / z.norm(dim=1, keepdim=True)
    classes = torch.tensor([0, 1, 0, 2])
    total = 0.0
    for i in range(8):
        others = [k for k in range(8) if k != i]
        below = sum(math.exp(float(unit[i] @ unit[k]) / 0.3) for k in others)
        positives = [k for k in others if classes[k % 4] == classes[i % 4]]
        total += sum(-math.log(math.exp(float(unit[i] @ unit[p]) / 0.3) / below) for p in positives) / len(positives)
    assert float(nt_xent(z, 0.3, classes)) == pytest.approx(total / 8, abs=1e-12)
    assert torch.allclose(nt_xent(z, 0.3, torch.arange(4)), nt_xent(z, 0.3))


def test_supervised_fitting_uses_labels_and_leaves_the_unlabelled_out(fitted: SkeletonTeacher) -> None:
    def supervised(labels: list[str | None] | None) -> SkeletonTeacher:
        teacher = SkeletonTeacher(**SMALL, supervised=True)
        teacher.fit(people(), labels=labels)
        return teacher

    right = supervised(["slow", "fast"] * 6)
    assert right.fingerprint != fitted.fingerprint
    assert not torch.equal(right.encode(people(seed=2)), supervised(["slow"] * 6 + ["fast"] * 6).encode(people(seed=2)))
    some: list[str | None] = ["slow", "fast", None, None] * 3
    kept = [i for i, name in enumerate(some) if name]
    alone = SkeletonTeacher(**SMALL, supervised=True)
    alone.fit(people()[kept], labels=[some[i] for i in kept])
    assert torch.equal(supervised(some).encode(people(seed=2)), alone.encode(people(seed=2)))
    assert SkeletonTeacher(**SMALL, supervised=False).recipe() == SkeletonTeacher(**SMALL).recipe(), "old names stay"
    for none in (None, [None] * 12):
        with pytest.raises(DataError, match="0 of 12 skeletons have two complete frames and a label"):
            supervised(none)


def test_position_size_heading_and_vertical_axis_do_not_matter() -> None:
    teacher = SkeletonTeacher(**SMALL)
    teacher.fit(people())
    x = people(4, seed=3)
    angle = math.radians(130)
    turned = x @ torch.tensor(
        [[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]]
    )
    moved = 1.7 * turned + torch.tensor([3.0, -1.0, 5.0])
    torch.testing.assert_close(teacher.normalise(moved), teacher.normalise(x), atol=1e-4, rtol=1e-4)
    z_up = SkeletonTeacher(**SMALL)
    z_up.fit(people()[..., [2, 0, 1]])
    assert (int(teacher.up), int(z_up.up)) == (1, 2)
    torch.testing.assert_close(z_up.normalise(x[..., [2, 0, 1]]), teacher.normalise(x))


def test_normal_form_has_torso_one_and_hips_at_the_origin() -> None:
    teacher = SkeletonTeacher(**SMALL)
    x = teacher.normalise(people(3) * 2 + 1)
    torch.testing.assert_close((x[:, :, 1] - x[:, :, 0]).norm(dim=-1).mean(1), torch.ones(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, :, 0].mean(1), torch.zeros(3, 3), atol=1e-5, rtol=0)
    across = turn_to_front(level(x, 1), [(2, 3)])[:, :, 3].sub(turn_to_front(level(x, 1), [(2, 3)])[:, :, 2]).mean(1)
    assert torch.all(across[:, 0] > 0)
    torch.testing.assert_close(across[:, 2], torch.zeros(3), atol=1e-5, rtol=0)


def test_held_ends_and_incomplete_frames_are_left_out() -> None:
    ramp = torch.arange(5.0).view(5, 1, 1).expand(5, 2, 3)
    held = torch.cat([ramp[:1].expand(3, 2, 3), ramp, ramp[-1:].expand(4, 2, 3)])
    holes = held.clone()
    holes[5, 1, 2] = torch.nan
    nothing = torch.full_like(held, torch.nan)
    nothing[2] = 0
    out = held_ends_removed(torch.stack([held, holes, torch.ones_like(held), nothing]), 9)
    expected = torch.linspace(0, 4, 9)
    torch.testing.assert_close(out[0, :, 0, 0], expected)
    torch.testing.assert_close(out[1, :, 0, 0], expected)
    assert torch.all(out[2] == 1)
    assert out[3].isnan().all()


def test_streams_keep_height_and_drop_the_way_over_the_floor() -> None:
    poses = torch.zeros(1, 3, 2, 3)
    poses[0, :, :, 0] = torch.tensor([0.0, 1, 2])[:, None]  # walks
    poses[0, :, :, 1] = torch.tensor([0.0, -0.5, -0.5])[:, None]  # squats
    point, motion = streams(poses, centre=0)[0]
    assert point[..., 0].abs().max() == 0
    assert point[:, 0, 1].tolist() == [0, -0.5, -0.5]
    assert motion[:, 0, 0].tolist() == [0, 8, 8]
    assert motion[:, 0, 1].tolist() == [0, -4, 0]


def test_views_follow_their_generator_and_vanish_at_zero_strength() -> None:
    x = SkeletonTeacher(**SMALL).normalise(people(3))
    off = SkeletonAugmentation(body=0, rotation=0, scale=0, jitter=0, crop=1, warp=0, lost=0)
    torch.testing.assert_close(off(x, GlobalDraws(torch.Generator())), x, atol=1e-5, rtol=1e-5)
    draws = [SkeletonAugmentation()(x, GlobalDraws(torch.Generator().manual_seed(s))) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    kept = SkeletonAugmentation(lost=0.5).kept(50, 6, GlobalDraws(torch.Generator().manual_seed(0)))
    assert kept.shape == (50, 1, 1, 6, 1)
    assert 0.3 < float(kept.mean()) < 0.7
    turned = SkeletonAugmentation(body=0, rotation=60, scale=0, jitter=0, crop=1, warp=0)(
        x, GlobalDraws(torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5, rtol=1e-4)


def test_samples_without_complete_frames_give_nan_rows_only(fitted: SkeletonTeacher) -> None:
    x = people(3)
    alone = fitted.encode(x)
    x[1, 1:] = torch.nan
    features = fitted.encode(x)
    assert features[1].isnan().all()
    torch.testing.assert_close(features[[0, 2]], alone[[0, 2]])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frames": 8}, "argument 'frames': must be at least 16"),
        ({"segments": 9}, "segments must be at most frames / 4"),
        ({"rotation": 200.0}, r"argument 'rotation': must be in \[0, 180\]"),
        ({"centre": "pelvs"}, "did you mean 'pelvis'"),
        ({"joints": ["a", "b"]}, "set centre=JOINT"),
        ({"joints": ["pelvis", "neck"]}, "align: false"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SkeletonTeacher(**{**SMALL, **arguments})


def test_use_before_fitting_and_wrong_joints_are_refused(fitted: SkeletonTeacher) -> None:
    with pytest.raises(ConfigError, match="was not fitted"):
        SkeletonTeacher(**SMALL).encode(people(2))
    with pytest.raises(ConfigError, match="names of the joints"):
        SkeletonTeacher().fit(people(4))
    with pytest.raises(ConfigError, match="skeletons have 5 joints, expected 6"):
        fitted.encode(people(2)[:, :, :5])
    with pytest.raises(DataError, match="1 of 1 skeletons"):
        SkeletonTeacher(**SMALL).fit(people(1))
