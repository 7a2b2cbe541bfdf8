"""The contract of losses, checked in one process and over several; what they learn is not."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.distributed import world
from imu_video.testing.base import Component, build, close, require, windows
from imu_video.testing.ranks import run_on_ranks
from imu_video.types import LossOutput, PairEmbeddings, PairMeta


def check_loss(loss: Component, *, ranks: int = 1) -> None:
    """Check the contract of `protocols.PairLoss`.

    A finite scalar with gradient, detached numbers to log, a pure ``forward``, row order without meaning, float32 under
    autocast, matched pairs cheaper than mismatched ones, state that survives a state_dict round trip; with ``ranks``
    > 1 also the gradient over processes against one process (`check_losses_over_ranks`).

    Args:
        loss: name, config entry or built module.
        ranks: processes; more than 1 needs a name or config entry, and a few seconds.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_loss({"name": "sigmoid_pair", "initial_bias": -5.0})
    """
    module = build(registry.losses, loss)
    name = type(module).__name__
    require(isinstance(module, nn.Module), f"{name} must be an nn.Module")
    for key, parameter in module.named_parameters():
        require(parameter.dtype == torch.float32, f"{name}: keep {key} in float32, it is {parameter.dtype}")
    pair = _pair(12, 8)
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
    gradients = {"pair.imu": pair.imu.grad, **{k: p.grad for k, p in module.named_parameters() if p.requires_grad}}
    for key, grad in gradients.items():
        require(
            grad is not None and grad.isfinite().all(),
            f"{name}: the gradient of {key} is missing or not finite: {grad}",
        )
    module.zero_grad()
    value = again.double()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    require(
        close(module(_rows(pair, order)).total.double(), value, 1e-4),
        f"{name}: the order of the rows changes the loss",
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(pair).total
    require(
        low.dtype == torch.float32 and close(low.double(), value, 1e-5),
        f"{name}: under bf16 autocast the loss is {low.dtype} {low.item():.6g}, without {value.item():.6g}: compute "
        "similarities and logarithms in float32 with autocast off",
    )
    matched = PairEmbeddings(imu=pair.video, video=pair.video, meta=pair.meta)
    crossed = PairEmbeddings(imu=pair.video.roll(1, 0), video=pair.video, meta=pair.meta)
    good, bad = module(matched).total.item(), module(crossed).total.item()
    require(good < bad, f"{name}: matched pairs cost {good:.4g}, mismatched ones {bad:.4g}: matched must cost less")
    _check_loss_state(module, name, pair)
    if ranks > 1:
        check_losses_over_ranks([loss], ranks=ranks)


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
    seen = PairEmbeddings(imu=pair.imu.detach(), video=pair.video.detach(), meta=pair.meta)
    require(module.observe(seen) is None, f"{name}.observe must return None")
    value = module(pair).total.detach()
    require(value.isfinite(), f"{name}: the loss is not finite after observe()")
    saved = {k: v.clone() for k, v in module.state_dict().items()}
    module.observe(PairEmbeddings(imu=seen.imu.flip(0), video=seen.video.flip(0), meta=seen.meta))
    module.load_state_dict(saved)
    require(
        torch.equal(module(pair).total.detach(), value),
        f"{name}: the state_dict does not hold all state: register queues and statistics as buffers",
    )


def check_losses_over_ranks(losses: list[Mapping[str, Any] | str], *, ranks: int = 2) -> None:
    """Check that losses over several gloo processes equal one process on the concatenated batch.

    Compared are the mean of the totals, the gradient of an encoder shared by the ranks and of the loss's own parameters
    (averaged over ranks, as DDP does), and the state after ``observe``.

    Args:
        losses: names or config entries; all are checked in the same processes.
        ranks: processes, 2 or more.

    Raises:
        AssertionError: naming the loss and what differs.
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
                    got.shape == value.shape and torch.allclose(got.double(), value.double(), rtol=1e-4, atol=1e-6),
                    f"loss {entry['name']!r}: {key} on rank {rank} of {ranks} differs from one process by up to "
                    f"{(got.double() - value.double()).abs().max():.3g}: gather with gradient "
                    "(distributed.gather_with_gradient), take the mean over own rows; gather in observe()",
                )


def _losses_on_rank(entries: str, files: list[str]) -> list[dict[str, Tensor]]:
    for file in files:
        if not all(entry["name"] in registry.losses.names() for entry in json.loads(entries)):
            registry.load_plugin(file)
    return [_loss_step(entry) for entry in json.loads(entries)]


def _loss_step(entry: Mapping[str, Any]) -> dict[str, Tensor]:
    """One step on this rank's rows of a fixed batch, reduced over ranks: every rank and one process must agree."""
    here = world()
    loss = registry.losses.build(entry)
    whole = _pair(12, 8)
    rows = here.rows(12)
    encoder = torch.eye(8, dtype=torch.float64) + 0.1 * windows(1, 8, 8, seed=5)[0].double()
    projector = torch.eye(8, dtype=torch.float64) + 0.1 * windows(1, 8, 8, seed=6)[0].double()
    shared = {"encoder": encoder.requires_grad_(), "projector": projector.requires_grad_()}
    own = _rows(whole, torch.arange(12)[rows])
    pair = PairEmbeddings(
        imu=nn.functional.normalize(own.imu.detach().double() @ shared["encoder"], dim=-1),
        video=nn.functional.normalize(own.video.double() @ shared["projector"], dim=-1),
        meta=own.meta,
    )
    total = loss(pair).total
    total.backward()
    out = {"total": _rank_mean(total.detach())}
    for key, parameter in itertools.chain(shared.items(), loss.named_parameters()):
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        out[f"gradient of {key}"] = _rank_mean(grad)
    loss.observe(PairEmbeddings(imu=pair.imu.detach(), video=pair.video.detach(), meta=pair.meta))
    out.update({f"state {key}": value for key, value in loss.state_dict().items()})
    return out


def _rank_mean(x: Tensor) -> Tensor:
    if world().size == 1:
        return x
    total = x.clone()
    torch.distributed.all_reduce(total)
    return total / world().size


def _pair(rows: int, width: int) -> PairEmbeddings:
    imu, video = (nn.functional.normalize(windows(1, rows, width, seed=s)[0], dim=-1) for s in (3, 4))
    meta = PairMeta(
        sample=torch.arange(rows),
        recording=torch.arange(rows) // 2,
        time=torch.arange(rows, dtype=torch.float64) * 5,
        device=torch.zeros(rows, dtype=torch.int64),
        subject=torch.arange(rows) // 4,
    )
    return PairEmbeddings(imu=imu.requires_grad_(), video=video, meta=meta)


def _rows(pair: PairEmbeddings, index: Tensor) -> PairEmbeddings:
    meta = PairMeta(**{k: v[index] for k, v in vars(pair.meta).items()}) if pair.meta is not None else None
    return PairEmbeddings(imu=pair.imu[index], video=pair.video[index], meta=meta)
