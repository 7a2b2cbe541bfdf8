"""Losses with a memory: the ring (B1), queue distillation (B3, B4), warm start, nearest neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from imu_video.errors import ConfigError
from imu_video.losses import HardNegative, LossMix, NearestNeighbour, PairLoss, QueueDistill
from imu_video.losses.queue import Ring
from imu_video.types import PairEmbeddings, PairMeta


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def numbered(first: int, count: int) -> PairEmbeddings:
    """Rows that say their number, and metadata that does too."""
    rows = torch.arange(first, first + count)
    meta = PairMeta(sample=rows, recording=rows, time=rows.double() / 2, device=0 * rows, subject=0 * rows)
    return PairEmbeddings(imu=rows[:, None].repeat(1, 2).float(), meta=meta)


def content(ring: Ring) -> list[float]:
    """Oldest first."""
    filled, pointer = int(ring.filled), int(ring.pointer)
    order = [(pointer + k) % filled if filled == ring.size else k for k in range(filled)]
    assert ring.recording[order].tolist() == ring.video[order, 0].tolist()
    assert (2 * ring.time[order]).tolist() == ring.video[order, 0].tolist()
    return ring.video[order, 0].tolist()


@pytest.mark.parametrize("batches", [[4, 4, 4], [3, 3, 3, 3, 2], [7], [5, 1], [12, 25], [10, 10, 3], [23]], ids=str)
def test_b1_the_ring_holds_the_last_rows_in_order(batches: list[int]) -> None:
    """No row is lost where K = 10 is no multiple of the batch, with partial batches and batches above K."""
    ring, done = Ring(size=10, video=2), 0
    for count in batches:
        pair = numbered(done, count)
        ring.write(pair, video=pair.imu)
        done += count
        assert content(ring) == list(range(max(0, done - 10), done))
        assert ring.valid.sum() == min(done, 10)
    again = Ring(size=10, video=2)
    again.load_state_dict({k: v.clone() for k, v in ring.state_dict().items()})
    pair = numbered(done, 4)
    for one in (ring, again):
        one.write(pair, video=pair.imu)
    assert content(again) == content(ring)


def test_b1_n_plus_3_batches() -> None:
    ring = Ring(size=6, video=2)
    for number in range(6 + 3):
        pair = numbered(4 * number, 4)
        ring.write(pair, video=pair.imu)
    assert content(ring) == list(range(30, 36))


def test_rows_without_metadata_belong_to_no_recording() -> None:
    ring = Ring(size=4, video=2)
    ring.write(PairEmbeddings(imu=torch.ones(2, 2)), video=torch.ones(2, 2))
    assert ring.recording.tolist() == [-1, -1, -1, -1]


def test_queue_distill_at_the_size_of_the_paper_equals_numpy() -> None:
    """B2 once more without torch: value to 1e-6."""
    loss = QueueDistill(size=64, dim=16)
    loss.observe(PairEmbeddings(imu=unit(64, 16), sides={"video": unit(64, 16, seed=5)}))
    z, v = unit(8, 16, seed=1), unit(8, 16, seed=2)
    keys = np.concatenate([loss.queue.video.numpy().astype(np.float64), v.numpy()])
    t, s = v.numpy() @ keys.T / 0.1, z.numpy() @ keys.T / 0.05
    p = np.exp(t) / np.exp(t).sum(1, keepdims=True)
    expected = -(p * (s - np.log(np.exp(s).sum(1, keepdims=True)))).sum(1).mean()
    assert loss(PairEmbeddings(imu=z, sides={"video": v})).total.item() == pytest.approx(expected, abs=1e-6)


def test_b2_no_gradient_reaches_teacher_or_queue() -> None:
    loss = QueueDistill(size=8, dim=6)
    assert not list(loss.parameters())
    assert not any(b.requires_grad for b in loss.buffers())
    p = PairEmbeddings(imu=unit(4, 6).requires_grad_(), sides={"video": unit(4, 6, seed=1).requires_grad_()})
    loss(p).total.backward()
    assert p.side is not None
    assert p.side.grad is None
    assert p.imu.grad is not None


def test_b3_the_teachers_entropy_is_a_lower_bound() -> None:
    loss = QueueDistill(size=32, student_temperature=0.1, teacher_temperature=0.1, dim=8)
    loss.observe(PairEmbeddings(imu=unit(32, 8), sides={"video": unit(32, 8, seed=3)}))
    v = unit(6, 8, seed=1)
    for z in (unit(6, 8, seed=2), v, -v):
        out = loss(PairEmbeddings(imu=z, sides={"video": v}))
        assert out.total >= out.stats["entropy"] - 1e-12
        assert out.stats["divergence"].item() == pytest.approx((out.total - out.stats["entropy"]).item(), abs=1e-12)
    same = loss(PairEmbeddings(imu=v, sides={"video": v}))
    assert same.total.item() == pytest.approx(same.stats["entropy"].item(), abs=1e-6)
    assert same.stats["agreement"] == 1


def test_b4_no_queue_and_a_sharp_teacher_is_info_nce_in_one_direction() -> None:
    z, v = unit(8, 6), unit(8, 6, seed=1)
    total = QueueDistill(size=0, teacher_temperature=1e-3, student_temperature=0.05, dim=6)(
        PairEmbeddings(imu=z, sides={"video": v})
    ).total
    one_direction = nn.functional.cross_entropy(z @ v.T / 0.05, torch.arange(8))
    assert total.item() == pytest.approx(one_direction.item(), abs=1e-4)


def test_only_written_places_are_keys() -> None:
    """A queue of 100 with 3 rows is a queue of 3."""
    rows = PairEmbeddings(imu=unit(3, 6), sides={"video": unit(3, 6, seed=1)})
    p = PairEmbeddings(imu=unit(4, 6, seed=2), sides={"video": unit(4, 6, seed=3)})
    totals = []
    for size in (3, 100):
        loss = QueueDistill(size=size, own_keys="out", dim=6)
        assert loss(p).total == 0  # nothing to compare with yet
        loss.observe(rows)
        totals.append(loss(p).total.item())
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)


def test_warm_start_fills_the_queue_and_only_that_of_frozen_embeddings() -> None:
    mix = LossMix.build(
        [
            {"name": "queue_distill", "size": 6},
            {"name": "queue_distill", "size": 4},
            {"name": "nearest_neighbour", "size": 5},
            {"name": "queue_distill", "size": 5, "target": "teacher"},
        ],
        dim=2,
        teacher_dim=3,
    )
    assert mix.warm_rows == 6
    assert mix.fixed_target
    assert mix.needs == {"side", "teacher"}
    pair = numbered(0, 6)
    assert pair.meta is not None
    mix.warm_start(meta=pair.meta, video=pair.imu)
    first, second, third, fourth = mix.losses.values()
    assert content(first.queue) == [0, 1, 2, 3, 4, 5]
    assert content(second.queue) == [0, 1, 2, 3]
    assert third.queue.filled == fourth.queue.filled == 0


def test_fewer_windows_than_the_queue_is_long_is_no_error() -> None:
    loss = QueueDistill(size=100, dim=2)
    pair = numbered(0, 7)
    assert pair.meta is not None
    loss.warm_start(meta=pair.meta, video=pair.imu)
    assert loss.queue.filled == 7


@pytest.mark.parametrize(
    "loss", [QueueDistill(size=4, dim=8), NearestNeighbour(size=4, dim=8)], ids=lambda x: x._get_name()
)
def test_another_width_is_refused_with_the_way_out(loss: PairLoss) -> None:
    with pytest.raises(ConfigError, match=r"(?s)width 8, the batch has 6.*omit dim"):
        loss(PairEmbeddings(imu=unit(4, 6), sides={"video": unit(4, 6)}))


def test_nearest_neighbour_starts_with_the_own_video() -> None:
    p = PairEmbeddings(imu=unit(4, 6), sides={"video": unit(4, 6, seed=1)})
    loss = NearestNeighbour(size=8, temperature=0.1, dim=6)
    plain = sum(nn.functional.cross_entropy(s / 0.1, torch.arange(4)) for s in (p.imu @ p.side.T, p.side @ p.imu.T)) / 2
    out = loss(p)
    assert out.total.item() == pytest.approx(float(plain), rel=1e-6)
    assert out.stats["found"] == 0


def test_nearest_neighbour_takes_no_row_of_its_own_moment() -> None:
    z = torch.eye(4, dtype=torch.float64)
    rows = torch.arange(4)
    meta = PairMeta(sample=rows, recording=rows // 2, time=5.0 * (rows % 2), device=0 * rows, subject=0 * rows)
    p = PairEmbeddings(
        imu=z, sides={"video": normalize(z + 0.5 * z[[1, 0, 3, 2]] + 0.2 * z.roll(2, 0), dim=1)}, meta=meta
    )
    loss = NearestNeighbour(size=8, dim=4)
    loss.observe(p)
    out = loss(p)
    assert out.stats["found"] == 1
    others = (p.side @ p.side.T).fill_diagonal_(-math.inf).max(1).values
    assert out.stats["likeness"].item() == pytest.approx(others.mean().item(), rel=1e-6)
    strict = NearestNeighbour(size=8, dim=4, gap_s=5.0)  # now the other window of the recording is out too
    strict.observe(p)
    apart = (p.side @ p.side.T).masked_fill(meta.recording[:, None] == meta.recording, -math.inf).max(1).values
    assert strict(p).stats["likeness"].item() == pytest.approx(apart.mean().item(), rel=1e-6)
    assert apart.mean() < others.mean()


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (QueueDistill, {"size": -1}),
        (QueueDistill, {"size": 0, "own_keys": "out"}),
        (QueueDistill, {"student_temperature": 0.0}),
        (QueueDistill, {"teacher_temperature": math.inf}),
        (NearestNeighbour, {"size": 0}),
        (NearestNeighbour, {"gap_s": -1.0}),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(build: type[PairLoss], options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(**options)


def test_queues_remember_in_the_state_dict() -> None:
    for loss in (HardNegative(queue=4, dim=2), QueueDistill(size=4, dim=2), NearestNeighbour(size=4, dim=2)):
        keys = {key.removeprefix("queue.") for key in loss.state_dict() if key.startswith("queue.")}
        assert {"video", "recording", "time", "pointer", "filled"} <= keys
