"""The contracts of objectives and towers, checked in one process and over several; what they learn is not."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imu_video import registry
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.errors import ImuVideoError
from imu_video.runtime.distributed import GlobalDraws, World, world
from imu_video.teachers.sentences import TextTable
from imu_video.testing.base import Component, build, close, rank_mean, require, windows
from imu_video.testing.ranks import run_on_ranks
from imu_video.types import LossOutput, PairBatch, PairMeta

_STUDENT = {"name": "patch_tst", "width": 8, "layers": 1, "heads": 2, "ffn": 16, "patch": 10, "stride": 10}
_WIDTH = 8  # of the sentence embeddings
_JOINTS = ("pelvis", "neck", "left_hip", "right_hip", "left_hand", "right_hand")


def check_objective(objective: Mapping[str, Any] | str, *, ranks: int = 1) -> None:
    """Check the contract of `objectives.Objective`.

    A finite scalar with gradient to the student and to every head, detached numbers to log, all randomness from the
    draws, nothing taken from values under a False mask, state that survives a state_dict round trip; with ``ranks`` > 1
    the same value and gradient in several processes as in one.

    Args:
        objective: name or config entry.
        ranks: processes; more than 1 needs a few seconds.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_objective({"name": "masked_patches", "patch": 10})
    """
    entry = {"name": objective} if isinstance(objective, str) else dict(objective)
    module, student = _objective(entry)
    name = type(module).__name__
    batch = _batch(12)
    state = torch.get_rng_state()
    out = module(student, batch, _draws())
    require(torch.equal(torch.get_rng_state(), state), f"{name}: forward draws from torch's global generator")
    require(isinstance(out, LossOutput), f"{name}.forward must return a LossOutput, got {type(out).__name__}")
    require(out.total.ndim == 0 and out.total.isfinite(), f"{name}: total must be a finite scalar, got {out.total}")
    for key, value in {**out.terms, **out.stats}.items():
        require(
            isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad,
            f"{name}: {key!r} must be a detached scalar tensor",
        )
    out.total.backward()
    for key, parameter in module.named_parameters():
        require(
            parameter.grad is not None and parameter.grad.isfinite().all(), f"{name}: the gradient of {key} is missing"
        )
    reached = [p.grad is not None and bool(p.grad.any()) for p in student.parameters()]
    require(any(reached), f"{name}: no gradient reaches the student")
    value = out.total.detach()
    require(torch.equal(module(student, batch, _draws()).total, value), f"{name}: the same draws give another loss")
    require(
        not torch.equal(module(student, batch, _draws(1)).total, value) or not _random(module, student, batch),
        f"{name}: other draws give the same loss although it draws",
    )
    spoiled = batch.with_imu(torch.where(batch.mask, batch.imu, 1e4), batch.mask)
    require(close(module(student, spoiled, _draws()).total, value), f"{name}: values under a False mask enter the loss")
    saved = {k: v.clone() for k, v in module.state_dict().items()}
    for parameter in module.parameters():
        parameter.data.add_(1.0)
    module.load_state_dict(saved)
    require(
        torch.equal(module(student, batch, _draws()).total, value), f"{name}: the state_dict does not contain all state"
    )
    if ranks > 1:
        check_objectives_over_ranks([entry], ranks=ranks)


def check_objectives_over_ranks(entries: list[dict[str, Any]], *, ranks: int = 2) -> None:
    """Check that objectives over several gloo processes equal one process on the whole batch: value and gradient.

    Raises:
        AssertionError: a difference; the message names the objective and the quantity.
    """
    files = sorted({str(inspect.getsourcefile(registry.objectives.get(entry["name"]))) for entry in entries})
    expected = [_step(entry) for entry in entries]
    results = run_on_ranks(_on_rank, json.dumps(entries), files, ranks=ranks)
    for number, (entry, one) in enumerate(zip(entries, expected, strict=True)):
        for rank, result in enumerate(results):
            for key, value in one.items():
                require(
                    torch.allclose(result[number][key], value, rtol=1e-3, atol=1e-5),
                    f"objective {entry['name']!r}: {key} on rank {rank} of {ranks} differs from one process: take the "
                    "mean over own rows with counts of all ranks, and all randomness from the draws",
                )


def check_tower(tower: Component) -> None:
    """Check the contract of towers: widths as declared, rows independent, augmentation from the draws alone, gradient.

    Args:
        tower: name, config entry (joints are filled in) or built tower for six joints.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_tower({"name": "skeleton", "width": 4})
    """
    model: Any = build(registry.towers, tower, joints=list(_JOINTS))
    name = type(model).__name__
    skeletons = _skeletons(4)
    model.fit(skeletons)
    model.eval()
    features, tokens = model(skeletons), model.tokens(skeletons)
    require(
        features.shape == (4, model.feature_dim), f"{name}: features {tuple(features.shape)}, not {model.feature_dim}"
    )
    require(
        tokens.ndim == 3 and tokens.shape[::2] == (4, model.token_dim),
        f"{name}.tokens: expected (4, S, {model.token_dim}), got {tuple(tokens.shape)}",
    )
    require(torch.equal(model.pool(tokens), features), f"{name}: forward is not pool(tokens)")
    alone = torch.cat([model(row[None]) for row in skeletons])
    require(close(alone, features, 1e-4), f"{name}: a row's features depend on the other rows in evaluation mode")
    state = torch.get_rng_state()
    first, again, other = model(skeletons, _draws()), model(skeletons, _draws()), model(skeletons, _draws(1))
    require(torch.equal(torch.get_rng_state(), state), f"{name}: augmentation draws from torch's global generator")
    require(
        torch.equal(first, again) and not torch.equal(first, other),
        f"{name}: augmentation does not follow the draws",
    )
    halves = [
        model(rows, GlobalDraws(torch.Generator().manual_seed(0), World(rank=rank, size=2)))
        for rank, rows in enumerate(skeletons.split(2))
    ]
    require(close(torch.cat(halves), first, 1e-4), f"{name}: augmentation depends on the number of processes")
    model.train()
    out = model(skeletons, _draws())
    (out * windows(1, len(out), out.shape[1], seed=1)[0]).sum().backward()
    missing = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    require(not missing, f"{name}: no gradient reaches {missing[:3]}")
    try:
        model(skeletons[0])
    except (ValueError, ImuVideoError):
        return
    raise AssertionError(f"{name} accepts skeletons without a batch axis: refuse them with a ValueError")


def _objective(entry: Mapping[str, Any]) -> tuple[Any, EncoderBundle]:
    spec = InputSpec(rate_hz=25, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = EncoderBundle(spec=spec, encoder=_STUDENT)
        module = registry.objectives.entry(entry).filled(text_dim=_WIDTH).build()
        module.attach(student)
        if getattr(module, "needs_text", False):
            module.adopt_texts(_texts(5), _texts(3))
    return module, student


def _random(module: nn.Module, student: EncoderBundle, batch: PairBatch) -> bool:
    draws = _draws()
    before = draws.generator.get_state().clone()
    module(student, batch, draws)
    return not torch.equal(before, draws.generator.get_state())


def _draws(seed: int = 0) -> GlobalDraws:
    return GlobalDraws(torch.Generator().manual_seed(seed), world())


def _batch(rows: int) -> PairBatch:
    imu = windows(rows, 6, 50, seed=7) * 3
    mask = torch.ones_like(imu, dtype=torch.bool)
    mask[0, :, 10:30], mask[1, 3:] = False, False
    meta = PairMeta(
        **{key: torch.arange(rows) for key in ("sample", "recording", "device", "subject")},
        time=torch.arange(rows, dtype=torch.float64),
    )
    text = torch.tensor([-1, 0, 1, 2, 3, 4])[torch.arange(rows) % 6]
    return PairBatch(imu=torch.where(mask, imu, 0), mask=mask, meta=meta, text=text)


def _texts(count: int) -> TextTable:
    embedded = torch.randn(2 * count, _WIDTH, generator=torch.Generator().manual_seed(count))
    names = tuple(f"text {number}" for number in range(count))
    return TextTable(names=names, embedded=nn.functional.normalize(embedded, dim=-1), counts=torch.full((count,), 2))


def _skeletons(rows: int) -> Tensor:
    rest = torch.tensor([[0, 1, 0], [0, 1.5, 0], [-0.1, 1, 0], [0.1, 1, 0], [-0.4, 1, 0.1], [0.4, 1, 0.1]])
    return rest + 0.05 * torch.randn(rows, 30, 6, 3, generator=torch.Generator().manual_seed(3)).cumsum(1)


def _on_rank(entries: str, files: list[str]) -> list[dict[str, Tensor]]:
    for file in files:
        if not all(entry["name"] in registry.objectives.names() for entry in json.loads(entries)):
            registry.load_plugin(file)
    return [_step(entry) for entry in json.loads(entries)]


def _step(entry: Mapping[str, Any]) -> dict[str, Tensor]:
    """Value and gradients of this rank's rows of a fixed batch, averaged over ranks as in DDP."""
    module, student = _objective(entry)
    whole = _batch(12)
    mine = world().rows(12)
    batch = PairBatch(
        imu=whole.imu[mine],
        mask=whole.mask[mine],
        meta=PairMeta(**{k: v[mine] for k, v in vars(whole.meta).items()}),
        text=None if whole.text is None else whole.text[mine],
    )
    total = module(student, batch, _draws()).total
    total.backward()
    out = {"total": rank_mean(total.detach())}
    for part, owner in (("head", module), ("student", student)):
        grads = {k: p.grad for k, p in owner.named_parameters() if p.grad is not None}
        out.update({f"gradient of {part} {k}": rank_mean(g) for k, g in grads.items()})
    return out
