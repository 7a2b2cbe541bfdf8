"""The weighted mix: schedules, what it needs, what it refuses, and that compiling or autocast changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video import registry
from imu_video.errors import ConfigError
from imu_video.losses import LossMix, Ramp
from imu_video.types import PairEmbeddings, PairMeta

SHIPPED = [name for name in registry.losses.names() if not name.startswith("test_")]


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def everything(n: int = 8, seed: int = 0) -> PairEmbeddings:
    rows = torch.arange(n)
    meta = PairMeta(sample=rows, recording=rows // 2, time=3.0 * (rows % 2).double(), device=0 * rows, subject=0 * rows)
    return PairEmbeddings(
        imu=unit(n, 8, seed=seed),
        sides={"video": unit(n, 8, seed=seed + 1)},
        teacher=unit(n, 8, seed=seed + 2),
        imu_two=unit(n, 8, seed=seed + 3),
        devices=unit(n, 3, 8, seed=seed + 4),
        devices_imu=unit(n, 3, 6, 10, seed=seed + 5),
        imu_segments=unit(n, 4, 8, seed=seed + 6),
        side_segments={"video": unit(n, 4, 8, seed=seed + 7)},
        meta=meta,
    )


def test_ramps() -> None:
    line, wave = Ramp(first=1.0, last=3.0, start=10, end=20), Ramp(end=8, shape="cosine")
    assert [float(line(torch.tensor(s))) for s in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]
    assert [float(wave(torch.tensor(s))) for s in (0, 2, 4, 8, 9)] == pytest.approx([0, 0.5 - 0.5**1.5, 0.5, 1, 1])


def test_a_scheduled_weight_follows_the_steps_and_survives_a_checkpoint() -> None:
    entries: list[dict[str, Any]] = [
        {"name": "info_nce", "learned": False},
        {"name": "sigmoid_pair", "learned": False, "weight": {"first": 0.0, "last": 2.0, "start": 1, "end": 3}},
    ]
    mix, p = LossMix.build(entries), everything()
    weights, totals = [], []
    for _ in range(5):
        out = mix(p)
        assert mix(p).total == out.total  # forward does not count
        weights.append(out.stats["sigmoid_pair/weight"].item())
        totals.append((out.total - out.terms["info_nce"]).item())
        sigmoid = out.terms["sigmoid_pair"].item()
        mix.observe(p)
    assert weights == [0, 0, 1, 2, 2]
    assert totals == pytest.approx([w * sigmoid for w in weights], abs=1e-5)
    again = LossMix.build(entries)
    again.load_state_dict(mix.state_dict())
    assert int(again.step) == 5
    assert "step" not in LossMix.build(["info_nce"]).state_dict()  # nothing scheduled: nothing to keep


def test_needs_are_those_of_all_terms() -> None:
    assert LossMix.build(["info_nce"]).needs == {"side"}
    mix = LossMix.build(
        ["nt_xent", "relational", "collossl", "segment_alignment", {"name": "hard_negative", "guard": 0.9}]
    )
    assert mix.needs == {"augmented_pair", "teacher", "devices", "segments", "side"}
    assert LossMix.build(["nt_xent"]).needs == {"augmented_pair"}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_term_says_what_is_missing(name: str) -> None:
    mix = LossMix.build([name], dim=8, teacher_dim=8)
    for need in mix.needs:
        assert need in registry.losses.get(name).needs or need in ("teacher", "augmented_pair")
    with pytest.raises(ConfigError, match="needs"):
        mix(PairEmbeddings(imu=everything().imu))


@pytest.mark.parametrize(
    "weight",
    [
        {"last": 1.0},
        {"end": 0},
        {"start": 5, "end": 5},
        {"first": -1.0, "end": 5},
        {"last": math.inf, "end": 5},
        {"end": 5, "shape": "square"},
        {"end": 5, "lsat": 1.0},
        {"first": 0.0, "last": 0.0, "end": 5},
        True,
    ],
    ids=str,
)
def test_bad_schedules_are_refused(weight: object) -> None:
    with pytest.raises(ConfigError):
        LossMix.build([{"name": "info_nce", "weight": weight}])


def whole_mix(names: list[str], **more: dict[str, Any]) -> LossMix:
    ramp = {"first": 0.5, "last": 1.0, "end": 10}
    options = {"queue_distill": {"size": 16}, "nearest_neighbour": {"size": 16}, **more}
    entries = [{"name": name, **options.get(name, {})} for name in names]
    entries.append({"name": "hard_negative", "queue": 16, "gap_s": 2.0, "guard": 0.5, "top_k": 5, "weight": ramp})  # type: ignore[dict-item]
    mix = LossMix.build(entries, dim=8, teacher_dim=8)
    mix.observe(everything(seed=50))
    return mix


def compare_compiled(names: list[str], backend: str) -> None:
    """One graph without a break; value and gradients as without compiling."""
    torch._dynamo.reset()
    # One anchor and two devices are one contrast each; all of them in one graph keep a compiler busy for minutes.
    mix, leaves = whole_mix(names, collossl={"anchor": 0}), ("imu", "imu_two", "devices", "imu_segments")
    two = ("devices", "devices_imu")
    fields = {k: v[:, :2].contiguous() if k in two else v for k, v in vars(everything()).items()}
    results = []
    for run in (mix, torch.compile(mix, backend=backend, fullgraph=True)):
        grown = {k: fields[k].clone().requires_grad_() for k in leaves}
        side = fields["sides"]["video"].clone().requires_grad_()
        out = run(PairEmbeddings(**{**fields, **grown, "sides": {"video": side}}))
        grads = torch.autograd.grad(out.total, [side, *grown.values()], allow_unused=True)
        results.append((out, [torch.zeros(1) if g is None else g for g in grads]))
    (plain, plain_grads), (fast, fast_grads) = results
    assert fast.total.item() == pytest.approx(plain.total.item(), rel=1e-5)
    for name, value in plain.terms.items():
        assert fast.terms[name].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6), name
    for a, b in zip(plain_grads, fast_grads, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow  # compiles
def test_a_mix_with_queue_and_schedule_is_one_graph() -> None:
    compare_compiled(["info_nce", "queue_distill"], "aot_eager")


@pytest.mark.slow
def test_a_single_term_keeps_its_gradient_when_compiled() -> None:
    torch._dynamo.reset()
    fields = vars(everything())
    imu = fields["imu"].clone().requires_grad_()
    total = torch.compile(LossMix.build(["info_nce"]))(PairEmbeddings(**{**fields, "imu": imu})).total
    assert torch.autograd.grad(total, imu)[0].abs().max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_loss_is_one_graph_and_compiles_to_the_same_numbers(name: str, backend: str) -> None:
    compare_compiled([name], backend)


def test_bf16_autocast_and_bf16_embeddings_give_the_loss_of_float32() -> None:
    """Autocast changes nothing at all; embeddings that arrive in bf16 are computed with in float32 as they are."""
    mix, p = whole_mix(SHIPPED), everything()
    plain = mix(p)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = mix(p)
    for name, value in plain.terms.items():
        assert cast.terms[name].dtype == torch.float32, name
        assert cast.terms[name].item() == value.item(), name
    low = p.apply(lambda x: x.bfloat16() if x.dtype == torch.float32 else x)
    low = replace(low, devices_imu=p.devices_imu)
    half = mix(low)
    again = mix(low.apply(lambda x: x.float() if x.dtype == torch.bfloat16 else x))
    for name, value in again.terms.items():
        assert half.terms[name].dtype == torch.float32, name
        assert half.terms[name].item() == pytest.approx(value.item(), rel=1e-6), name
        assert value.item() == pytest.approx(plain.terms[name].item(), rel=0.05, abs=0.05), name


def test_rows_without_a_pair_enter_losses_on_the_imu_alone() -> None:
    paired = torch.tensor([True, True, False, True, False, False, True, True])
    whole = replace(everything(), paired=paired)
    mix = LossMix.build([{"name": "info_nce"}, {"name": "nt_xent"}])
    parts = whole.with_pairs()
    out = mix(whole)
    assert len(parts.imu) == 5
    assert parts.paired is None
    assert out.terms["info_nce"] == mix.losses["info_nce"](parts).total
    assert out.terms["nt_xent"] == mix.losses["nt_xent"](everything()).total
    joined = PairEmbeddings.join([whole, replace(everything(seed=3), paired=~paired)]).with_pairs()
    assert joined.parts == (5, 3)
