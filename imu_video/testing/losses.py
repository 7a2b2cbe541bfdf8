"""Contract check of losses in one process and in several; the result of training is not checked."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.errors import ConfigError
from imu_video.losses.base import NEEDS, LossNeeds
from imu_video.losses.base import PairLoss as BaseLoss
from imu_video.losses.mix import LossMix
from imu_video.runtime.distributed import world
from imu_video.testing.base import Component, build, close, rank_mean, require, windows
from imu_video.testing.ranks import run_on_ranks
from imu_video.types import LossOutput, PairEmbeddings, PairMeta

WIDTH = 8
"""Embedding and teacher width of the generated batches."""

_STUDENT = ("imu", "imu_two", "devices", "imu_segments")
_SIDES = ("sides", "side_segments")


def check_loss(loss: Component, *, ranks: int = 1) -> None:
    """Check the contract of losses (`imu_video.losses.PairLoss`).

    A finite scalar with gradient, detached numbers to log, a pure ``forward``, row order without meaning, float32 under
    autocast, matched pairs cheaper than mismatched ones, state that survives a state_dict round trip, and nothing used
    but what ``needs`` names, which `PairLoss.needs_of` states before the loss is built; with ``ranks`` > 1 also the
    gradient over processes against one process (`check_losses_over_ranks`).

    Args:
        loss: name, config entry or built module (of embedding and teacher width 8, where it has one).
        ranks: processes; more than 1 needs a name or config entry, and a few seconds.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_loss({"name": "sigmoid_pair", "initial_bias": -5.0})
    """
    module = build(registry.losses, loss, dim=WIDTH, teacher_dim=WIDTH)
    name = type(module).__name__
    require(isinstance(module, nn.Module), f"{name} must be an nn.Module")
    for key, parameter in module.named_parameters():
        require(parameter.dtype == torch.float32, f"{name}: keep {key} in float32, it is {parameter.dtype}")
    needs = frozenset(getattr(module, "needs", BaseLoss.needs))
    require(needs <= NEEDS.keys(), f"{name}.needs is {sorted(needs)}, known are {sorted(NEEDS)}")
    pair = _pair(12, needs)
    _check_loss_needs(module, name, pair, needs)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    random = torch.get_rng_state()
    out = module(pair)
    _check_loss_output(out, name)
    again = module(pair).total.detach()
    require(torch.equal(again, out.total.detach()), f"{name}: forward is not pure: two calls on one batch differ")
    for key, value in module.state_dict().items():
        require(torch.equal(value, state[key]), f"{name}: forward changes its state {key!r}: do that in observe()")
    require(torch.equal(torch.get_rng_state(), random), f"{name}: forward draws from torch's global generator")
    out.total.backward()
    student = {field: x.grad for field in _STUDENT if (x := getattr(pair, field)) is not None and x.grad is not None}
    gradients = {**(student or {"pair.imu": None})}
    gradients |= {k: p.grad for k, p in module.named_parameters() if p.requires_grad}
    for key, grad in gradients.items():
        require(
            grad is not None and grad.isfinite().all(),
            f"{name}: the gradient of {key} is missing or not finite: {grad}",
        )
    module.zero_grad()
    value = again.double()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    require(
        close(module(pair.apply(lambda x: x[order])).total.double(), value, 1e-4),
        f"{name}: the order of the rows changes the loss",
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(pair).total
    require(
        low.dtype == torch.float32 and close(low.double(), value, 1e-5),
        f"{name}: under bf16 autocast the loss is {low.dtype} {low.item():.6g}, without {value.item():.6g}: compute "
        "similarities and logarithms in float32 with autocast off",
    )
    matched, crossed = _matched(pair)
    good, bad = module(matched).total.item(), module(crossed).total.item()
    require(good < bad, f"{name}: matched pairs cost {good:.4g}, mismatched ones {bad:.4g}: matched must cost less")
    _check_loss_state(module, name, pair)
    if isinstance(loss, str | Mapping):
        _check_loss_statement(loss, module, name)
    if ranks > 1:
        check_losses_over_ranks([loss], ranks=ranks)


def _check_loss_statement(loss: str | Mapping[str, Any], module: Any, name: str) -> None:
    (term,) = LossMix.parse([loss], registry.losses, dim=WIDTH, teacher_dim=WIDTH)
    built = LossNeeds.of_attributes(module)
    require(
        term.needs == built,
        f"{name}.needs_of states {term.needs}, the loss as built has {built}: call self.adopt_needs in the constructor "
        "with the arguments that needs_of reads",
    )


def _check_loss_needs(module: Any, name: str, pair: PairEmbeddings, needs: frozenset[str]) -> None:
    for need in sorted(needs):
        try:
            without: dict[str, Any] = {f: {} if isinstance(getattr(pair, f), Mapping) else None for f in NEEDS[need]}
            module(replace(pair, **without))
        except ConfigError as error:
            require(need in str(error), f"{name}: the error without {need!r} does not name it: {error}")
        else:
            raise AssertionError(
                f"{name} names {need!r} in `needs` and works without it: a run would compute it in vain"
            )


def _check_loss_output(out: Any, name: str) -> None:
    require(isinstance(out, LossOutput), f"{name}.forward must return a LossOutput, got {type(out).__name__}")
    require(out.total.ndim == 0 and out.total.isfinite(), f"{name}: total must be a finite scalar, got {out.total}")
    require(out.total.requires_grad, f"{name}: total carries no gradient: do not detach it")
    for key, value in {**out.terms, **out.stats}.items():
        require(
            isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad,
            f"{name}: {key!r} must be a detached scalar tensor: it would keep the graph alive in the log",
        )


def _check_loss_state(module: Any, name: str, pair: PairEmbeddings) -> None:
    seen = pair.detach()
    require(module.observe(seen) is None, f"{name}.observe must return None")
    value = module(pair).total.detach()
    require(value.isfinite(), f"{name}: the loss is not finite after observe()")
    saved = {k: v.clone() for k, v in module.state_dict().items()}
    module.observe(seen.apply(lambda x: x.flip(0)))
    module.load_state_dict(saved)
    require(
        torch.equal(module(pair).total.detach(), value),
        f"{name}: the state_dict does not contain all state: register queues and statistics as buffers",
    )


def check_losses_over_ranks(losses: list[Mapping[str, Any] | str], *, ranks: int = 2) -> None:
    """Check that losses over several gloo processes equal one process on the concatenated batch.

    Compared are the mean of the totals, the gradient of an encoder shared by the ranks and of the loss's own parameters
    (averaged over ranks, as DDP does) over two accumulated batches of different size, the state after ``observe``
    (in the same bits on every rank), and total and gradient of the step after it.

    Args:
        losses: names or config entries; all are checked in the same processes.
        ranks: processes, 2 or more.

    Raises:
        AssertionError: a difference; the message names the loss and the quantity.
    """
    entries = [{"name": entry} if isinstance(entry, str) else dict(entry) for entry in losses]
    files = sorted({str(inspect.getsourcefile(registry.losses.get(entry["name"]))) for entry in entries})
    expected = [_loss_step(entry) for entry in entries]
    results = run_on_ranks(_losses_on_rank, json.dumps(entries), files, ranks=ranks)
    for number, (entry, one) in enumerate(zip(entries, expected, strict=True)):
        for key, value in one.items():
            for rank, result in enumerate(results):
                got = result[number][key]
                require(
                    got.shape == value.shape,
                    f"loss {entry['name']!r}: {key} has shape {tuple(got.shape)} on rank {rank} of {ranks}, "
                    f"{tuple(value.shape)} in one process",
                )
                apart = max((got.double() - value.double()).abs().flatten().tolist(), default=0.0)
                require(
                    torch.allclose(got.double(), value.double(), rtol=1e-4, atol=1e-6),
                    f"loss {entry['name']!r}: {key} on rank {rank} of {ranks} differs from one process by up to "
                    f"{apart:.3g}: gather with gradient "
                    "(distributed.gather_with_gradient), take the mean over own rows; gather in observe()",
                )
                require(
                    torch.equal(got, results[0][number][key]),
                    f"loss {entry['name']!r}: {key} is not the same on rank 0 and rank {rank}",
                )


def _losses_on_rank(entries: str, files: list[str]) -> list[dict[str, Tensor]]:
    for file in files:
        if not all(entry["name"] in registry.losses.names() for entry in json.loads(entries)):
            registry.load_plugin(file)
    return [_loss_step(entry) for entry in json.loads(entries)]


def _loss_step(entry: Mapping[str, Any]) -> dict[str, Tensor]:
    """Two steps on this rank's rows of fixed batches, reduced over ranks: every rank and one process must agree.

    The first step accumulates a batch of 12 and one of 6 rows; the second starts from the state after the first.
    """
    here = world()
    loss = registry.losses.build(entry, dim=WIDTH, teacher_dim=WIDTH)
    whole = _pair(18, frozenset(getattr(loss, "needs", BaseLoss.needs)))
    eye = torch.eye(WIDTH, dtype=torch.float64)
    shared = {
        "encoder": (eye + 0.1 * windows(1, WIDTH, WIDTH, seed=5)[0].double()).requires_grad_(),
        "projector": (eye + 0.1 * windows(1, WIDTH, WIDTH, seed=6)[0].double()).requires_grad_(),
    }

    def embed(first: int, last: int) -> PairEmbeddings:
        mine = here.rows(last - first)
        own = whole.detach().apply(lambda x: x[first:last][mine])

        def moved(x: Tensor, by: str) -> Tensor:
            return nn.functional.normalize(x.double() @ shared[by], dim=-1)

        new: dict[str, Any] = {
            field: moved(x, "encoder") for field in _STUDENT if (x := getattr(own, field)) is not None
        }
        for field in _SIDES:
            new[field] = {name: moved(x, "projector") for name, x in getattr(own, field).items()}
        return replace(own, **new)

    def reduced(total: Tensor, when: str) -> dict[str, Tensor]:
        out = {f"total {when}": rank_mean(total.detach())}
        for key, parameter in itertools.chain(shared.items(), loss.named_parameters()):
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            out[f"gradient of {key} {when}"] = rank_mean(grad)
            parameter.grad = None
        return out

    pairs = [embed(0, 12), embed(12, 18)]
    total = sum((loss(pair).total for pair in pairs), torch.zeros(())) / len(pairs)
    total.backward()
    out = reduced(total, "over two batches")
    loss.observe(PairEmbeddings.join([pair.detach() for pair in pairs]))
    out.update({f"state {key}": value.clone() for key, value in loss.state_dict().items()})
    total = loss(embed(3, 15)).total
    total.backward()
    return {**out, **reduced(total, "in the second step")}


def _pair(rows: int, needs: frozenset[str]) -> PairEmbeddings:
    """Generated embeddings with the needed inputs and no others."""

    def unit(*shape: int, seed: int) -> Tensor:
        return nn.functional.normalize(windows(1, 1, rows * shape[0], seed=seed).reshape(rows, *shape[1:], -1), dim=-1)

    meta = PairMeta(
        sample=torch.arange(rows),
        recording=torch.arange(rows) // 2,
        time=torch.arange(rows, dtype=torch.float64) * 5,
        device=torch.zeros(rows, dtype=torch.int64),
        subject=torch.arange(rows) // 4,
    )
    devices, segments = 3, 4
    fields: dict[str, Any] = {"imu": unit(WIDTH, seed=3)}
    if "side" in needs:
        fields["sides"] = {"other": unit(WIDTH, seed=4)}
    if "teacher" in needs:
        fields["teacher"] = windows(1, rows, WIDTH, seed=7)[0]
    if "augmented_pair" in needs:
        fields["imu_two"] = unit(WIDTH, seed=8)
    if "devices" in needs:
        fields["devices"] = unit(devices * WIDTH, devices, seed=9)
        fields["devices_present"] = torch.arange(rows * devices).reshape(rows, devices) % 7 != 0
        strength = torch.arange(1, devices + 1).reshape(-1, 1, 1)
        fields["devices_imu"] = (
            3 * strength * windows(1, rows, devices * 6 * 10, seed=10)[0].reshape(rows, devices, 6, 10)
        )
    if "segments" in needs:
        fields["imu_segments"] = unit(segments * WIDTH, segments, seed=11)
        fields["side_segments"] = {"other": unit(segments * WIDTH, segments, seed=12)}
    for field in _STUDENT:
        if field in fields:
            fields[field].requires_grad_()
    return PairEmbeddings(**fields, meta=meta)


def _matched(pair: PairEmbeddings) -> tuple[PairEmbeddings, PairEmbeddings]:
    """One batch with matching pairs and with mismatched pairs."""
    pair = pair.detach()
    imu = pair.imu
    if pair.side is not None:
        imu = pair.side
    elif pair.teacher is not None:
        imu = nn.functional.normalize(pair.teacher, dim=-1)
    new: dict[str, Any] = {}
    if pair.teacher is not None:
        new["teacher"] = imu
    if pair.imu_two is not None:
        new["imu_two"] = imu
    if pair.segments is not None:
        new["imu_segments"] = pair.segments
    crossed: dict[str, Any] = {"imu": imu.roll(1, 0), **new}
    if "imu_segments" in new:
        crossed["imu_segments"] = new["imu_segments"].roll(1, 0)
    if pair.devices is not None:
        same = pair.devices[:, :1].expand_as(pair.devices)
        new["devices"] = same
        crossed["devices"] = torch.stack([same[:, v].roll(v, 0) for v in range(same.shape[1])], dim=1)
    return replace(pair, imu=imu, **new), replace(pair, **crossed)
