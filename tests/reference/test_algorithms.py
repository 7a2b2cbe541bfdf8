"""Four updates of every algorithm against naive loops, in double precision, with batch statistics of all domains.

The twins know the networks and nothing else of the algorithms: gradients by autograd per domain or per window, Adam
with L2 decay written out, the same random draws in the same order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.algorithms import AdamSettings, Algorithm, DomainBatch, Network, algorithms
from eval.algorithms.ddlearn import supervised_contrastive
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from tests.reference.naive_adam import NaiveAdam

ADAM = AdamSettings(lr=1e-2, weight_decay=1e-3)
CLASSES, DOMAINS, ROWS, UPDATES = 3, 3, 6, 4
SETTINGS: dict[str, dict[str, Any]] = {
    "vrex": {"penalty": 7.0, "anneal": 2},
    "fishr": {"penalty": 3.0, "start": 2},
    "ermpp": {"linear_steps": 1, "average_from": 3},
    "groupdro": {"eta": 0.5},
    "mmd": {"gamma": 0.7},
    "coral": {"gamma": 0.7},
    "rsc": {"features": 0.3, "batch": 0.3},
    "fusion": {"look": 2},
}


def batches(step: int) -> list[DomainBatch]:
    g = torch.Generator().manual_seed(step)
    made = []
    for domain in range(DOMAINS):
        imu = torch.randn(ROWS, 6, 32, generator=g, dtype=torch.float64) * (1 + domain)
        label = torch.arange(ROWS) % CLASSES
        made.append(DomainBatch(imu=imu, mask=torch.ones_like(imu, dtype=torch.bool), label=label))
    return made


def start(name: str, *, domains: int = DOMAINS) -> Algorithm:
    torch.manual_seed(0)
    bundle = EncoderBundle(
        spec=InputSpec(rate_hz=16, window_s=2, mean=(0,) * 6, std=(1,) * 6),
        encoder={"name": "harood_cnn", "norm": "batch", "kernel": 4},
    )
    algorithm = algorithms.build({"name": name, **SETTINGS.get(name, {})})
    network = Network(bundle, CLASSES).double()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        algorithm.begin(network, domains=domains, adam=ADAM, generator=torch.Generator().manual_seed(1))
    finally:
        torch.set_default_dtype(default)
    return algorithm.train()


def naive_adam(parameters: list[nn.Parameter], lr: float = ADAM.lr) -> NaiveAdam:
    return NaiveAdam(parameters, lr=lr, betas=ADAM.betas, weight_decay=ADAM.weight_decay)


def grads(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, one window after the other."""
    return sum((-row.log_softmax(0)[y] for row, y in zip(logits, labels, strict=True)), torch.zeros(())) / len(labels)


@dataclass
class World:
    """What a twin works on: modules of its own, the joined batch, the domains' rows, the draws."""

    algorithm: Algorithm
    network: Network
    generator: torch.Generator
    memory: dict[str, Any]

    def all(self, step: list[DomainBatch]) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(torch.cat([getattr(b, n) for b in step]) for n in ("imu", "mask", "label"))  # type: ignore[return-value]


def domain_rows(x: Tensor) -> list[Tensor]:
    return [x[d * ROWS : (d + 1) * ROWS] for d in range(DOMAINS)]


def risks(w: World, step: list[DomainBatch]) -> list[Tensor]:
    imu, mask, label = w.all(step)
    logits = w.network(imu, mask)
    return [ce(a, b) for a, b in zip(domain_rows(logits), domain_rows(label), strict=True)]


def mean(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0]) / len(values)


def coral(x: Tensor, y: Tensor) -> Tensor:
    def covariance(z: Tensor) -> Tensor:
        c = z - z.mean(0)
        return sum(torch.outer(r, r) for r in c) / (len(z) - 1)  # type: ignore[return-value]

    return ((x.mean(0) - y.mean(0)) ** 2).mean() + ((covariance(x) - covariance(y)) ** 2).mean()


def mmd(x: Tensor, y: Tensor) -> Tensor:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return mean(
            [(-g * ((u - v) ** 2).sum()).exp() for g in (1e-3, 1e-2, 1e-1, 1, 10, 100, 1000) for u in a for v in b]
        )

    return 7 * (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))


def pairs(features: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    f = domain_rows(features)
    return mean([distance(f[0], f[1]), distance(f[0], f[2]), distance(f[1], f[2])])


# ------------------------------------------------------------------------------------- losses that take one step


def erm(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    return ce(w.network(imu, mask), label)


def mixup(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    partner = torch.randperm(len(imu), generator=w.generator)
    x, y = torch._standard_gamma(torch.full((2,), 0.2, dtype=torch.float64), generator=w.generator).tolist()
    weight = x / (x + y)
    logits = w.network(weight * imu + (1 - weight) * imu[partner], mask)
    return weight * ce(logits, label) + (1 - weight) * ce(logits, label[partner])


def aligned(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[[World, list[DomainBatch]], Tensor]:
    def loss(w: World, step: list[DomainBatch]) -> Tensor:
        imu, mask, label = w.all(step)
        f = w.network.features(imu, mask)
        return ce(w.network.classifier(f), label) + 0.7 * pairs(f, distance)

    return loss


def vrex(w: World, step: list[DomainBatch]) -> Tensor:
    each = risks(w, step)
    middle = mean(each)
    weight = 7.0 if w.memory["update"] >= 2 else 1.0
    return middle + weight * mean([(r - middle) ** 2 for r in each])


def groupdro(w: World, step: list[DomainBatch]) -> Tensor:
    each = risks(w, step)
    q = w.memory.setdefault("q", [1 / DOMAINS] * DOMAINS)
    raised = [a * math.exp(0.5 * float(r.detach())) for a, r in zip(q, each, strict=True)]
    w.memory["q"] = [a / sum(raised) for a in raised]
    return sum((a * r for a, r in zip(w.memory["q"], each, strict=True)), torch.zeros(()))


def dann(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    f = w.network.features(imu, mask)
    domain = torch.tensor([d for d in range(DOMAINS) for _ in range(ROWS)])
    # Gradient reversal as a difference: the value of the domain loss at f, its negative gradient through f.
    inside = f.detach().requires_grad_()
    judge = copy.deepcopy(w.algorithm.discriminator)  # a first pass must not change the running statistics
    held = torch.autograd.grad(ce(judge(inside), domain), inside)[0]
    value = ce(w.algorithm.discriminator(f.detach()), domain)
    return ce(w.network.classifier(f), label) + value - (f * held).sum() + (f.detach() * held).sum()


def ddlearn(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    kinds = torch.randint(7, (len(imu),), generator=w.generator)
    changed, known = imu.clone(), mask.clone()
    for kind in range(7):
        rows = kinds == kind
        if rows.any():
            changed[rows], known[rows] = w.algorithm.augmentations[kind](imu[rows], mask[rows], w.generator)
    f = w.network.features(torch.cat([imu, changed]), torch.cat([mask, known]))
    raw, new = f[: len(imu)], f[len(imu) :]
    judged = [w.algorithm.judge(z)[:, 0] for z in (raw, new)]
    diverse = mean([-F.logsigmoid(s) for s in judged[0]]) + mean([-F.logsigmoid(-s) for s in judged[1]])
    kind_loss = ce(w.algorithm.kind_head(f), torch.cat([torch.zeros_like(kinds), kinds + 1]))
    both = torch.cat([label, label])
    # The supervised contrastive loss has a twin of loops of its own in tests/eval/algorithms/test_identities.py.
    return ce(w.network.classifier(f), both) + kind_loss + diverse + supervised_contrastive(f, both, 0.07)


def lag(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    patches = w.algorithm.local.patches
    folded = torch.stack([x.reshape(6, patches, -1) for x in imu])
    seen = w.network.features(imu, mask), w.algorithm.local.layers(folded)
    a, b = (bottleneck(z) for bottleneck, z in zip(w.algorithm.bottlenecks, seen, strict=True))
    return ce(w.algorithm.head(torch.cat([a, b], dim=1)), label) + pairs(a, coral) + pairs(b, coral)


def rsc(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    f = w.network.features(imu, mask)
    g = np.stack([w.network.classifier.weight[y].detach().numpy() for y in label])  # of the true class's score
    at = np.percentile(g, 70, axis=1)[:, None]
    keep = torch.from_numpy((g < at).astype(np.float64))
    p = [w.network.classifier(z).softmax(1)[range(len(label)), label].detach() for z in (f, f * keep)]
    loss = (p[0] - p[1]).numpy()
    hit = torch.from_numpy(loss >= np.percentile(loss, 70))
    return ce(w.network.classifier(torch.where(hit[:, None], f * keep, f)), label)


def fishr(w: World, step: list[DomainBatch]) -> Tensor:
    imu, mask, label = w.all(step)
    f = w.network.features(imu, mask)
    logits = w.network.classifier(f)
    ema = w.memory.setdefault("ema", [torch.zeros(())] * DOMAINS)
    variances = []
    for d, (rows, scores, labels) in enumerate(zip(*(domain_rows(x) for x in (f, logits, label)), strict=True)):
        each = []
        for z, s, y in zip(rows, scores, labels, strict=True):
            residual = s.softmax(0) - F.one_hot(y, CLASSES)
            each.append(torch.cat([torch.outer(residual, z).flatten(), residual]))
        now = torch.stack(each).var(dim=0, correction=0)
        mixed = 0.95 * ema[d] + 0.05 * now
        ema[d] = mixed.detach()
        variances.append(mixed / 0.05)
    middle = mean(variances)
    penalty = mean([((v - middle) ** 2).mean() for v in variances])
    return ce(logits, label) + (3.0 if w.memory["update"] >= 2 else 0.0) * penalty


ONE_STEP: dict[str, Callable[[World, list[DomainBatch]], Tensor]] = {
    "erm": erm, "mixup": mixup, "coral": aligned(coral), "mmd": aligned(mmd), "vrex": vrex, "groupdro": groupdro,
    "dann": dann, "ddlearn": ddlearn, "lag": lag, "rsc": rsc, "fishr": fishr,
}  # fmt: skip
RESTARTS = {"vrex": 2, "fishr": 2}


def run_one_step(name: str, w: World) -> None:
    parameters = list(w.algorithm.parameters())
    adam = naive_adam(parameters)
    for update in range(UPDATES):
        w.memory["update"] = update
        if RESTARTS.get(name) == update:
            adam = naive_adam(parameters)
        adam.step(grads(ONE_STEP[name](w, batches(update)), parameters))


# ------------------------------------------------------------------------------------------- other schedules


def run_andmask(name: str, w: World) -> None:
    parameters = list(w.network.parameters())
    adam = naive_adam(parameters)
    for update in range(UPDATES):
        each = [grads(r, parameters) for r in risks(w, batches(update))]
        total: list[Tensor | None] = []
        for g in zip(*each, strict=True):
            if g[0] is None:
                total.append(None)
                continue
            agree = sum((x.sign() for x in g), torch.zeros(())).abs() == DOMAINS  # type: ignore[union-attr]
            total.append(agree * mean(list(g)) / (1e-10 + agree.double().mean()))  # type: ignore[arg-type]
        adam.step(total)


def run_mldg(name: str, w: World) -> None:
    parameters = list(w.network.parameters())
    adam = naive_adam(parameters)
    for update in range(UPDATES):
        step = batches(update)
        own = [grads(r, parameters) for r in risks(w, step)]
        total = [None if g[0] is None else mean(list(g)) for g in zip(*own, strict=True)]  # type: ignore[arg-type]
        order = torch.randperm(DOMAINS, generator=w.generator).tolist()
        for i, j in zip(order, [*order[1:], order[0]], strict=True):
            trial = copy.deepcopy(w.network)
            inner = naive_adam(list(trial.parameters()), lr=1e-2)
            inner.step([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, own[i], strict=True)])
            second = grads(ce(trial(step[j].imu, step[j].mask), step[j].label), list(trial.parameters()))
            total = [
                t if g is None else (g / DOMAINS if t is None else t + g / DOMAINS)
                for t, g in zip(total, second, strict=True)
            ]
        adam.step([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, total, strict=True)])


def run_fish(name: str, w: World) -> None:
    clone = copy.deepcopy(w.network)
    adam = naive_adam(list(clone.parameters()))
    for update in range(UPDATES):
        clone.load_state_dict(w.network.state_dict())
        for b in batches(update):
            adam.step(grads(ce(clone(b.imu, b.mask), b.label), adam.parameters))
        for mine, theirs in zip(w.network.state_dict().values(), clone.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.copy_(mine + 0.1 * (theirs - mine))


def run_urm(name: str, w: World) -> None:
    judge = w.algorithm._discriminator[0]
    parameters, adversary = list(w.network.parameters()), list(judge.parameters())
    adam, other = naive_adam(parameters), naive_adam(adversary)
    for update in range(UPDATES):
        imu, mask, label = w.all(batches(update))
        h = torch.tanh(w.network.features(imu, mask))
        fooled = mean([-F.logsigmoid(s) for s in judge(h)[:, 0]])
        adam.step(grads(ce(w.network.classifier(h), label) + 0.1 * fooled, parameters))
        noise = 2 * torch.rand(h.shape, generator=w.generator, dtype=h.dtype) - 1
        real = mean([-F.logsigmoid(s) for s in judge(noise)[:, 0]])
        fake = mean([-F.logsigmoid(-s) for s in judge(h.detach())[:, 0]])
        other.step(grads(real + 0.1 * fake, adversary))


def run_ermpp(name: str, w: World) -> None:
    parameters = list(w.network.parameters())
    adam, held = naive_adam(parameters), []
    for update in range(UPDATES):
        if update == 2:  # one more than linear_steps
            adam = naive_adam(parameters)
        imu, mask, label = w.all(batches(update))
        f = w.network.features(imu, mask)
        adam.step(grads(ce(w.network.classifier(f.detach() if update <= 1 else f), label), parameters))
        if update + 1 >= 2:  # one before average_from
            held.append({k: v.clone() for k, v in w.network.state_dict().items()})
    for key, value in w.network.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.stack([one[key] for one in held]).mean(0))


def run_fusion(name: str, w: World) -> None:
    parameters = list(w.algorithm.parameters())
    adam, head = naive_adam(parameters), w.network.classifier
    seen: list[list[float]] = [[] for _ in range(CLASSES)]
    for update in range(UPDATES):
        imu, mask, label = w.all(batches(update))
        if update < 2:  # look: mean distance of the samples from their channel's mean, per window
            for x, y in zip(imu, label, strict=True):
                seen[y].append(float(mean([(c - c.mean()).abs().mean() for c in x])))
            continue
        order = sorted((sum(each) / len(each), c) for c, each in enumerate(seen))
        gaps = [math.log(b[0] / a[0]) for a, b in pairwise(order)]
        cut = gaps.index(max(gaps)) + 1
        groups = [c for _, c in order[:cut]], [c for _, c in order[cut:]]
        each = []
        for z, y in zip(w.network.features(imu, mask), label.tolist(), strict=True):
            group = 0 if y in groups[0] else 1
            static = 1 / (1 + (-(z @ head.gate.weight[0] + head.gate.bias[0])).exp())
            expert = head.experts[group]
            scores = {c: (z @ expert.weight[c] + expert.bias[c]).exp() for c in groups[group]}
            each.append(-((1 - static if group else static) * scores[y] / sum(scores.values())).log())
        adam.step(grads(mean(each), parameters))


OTHERS = {
    "andmask": run_andmask, "mldg": run_mldg, "fish": run_fish, "urm": run_urm, "ermpp": run_ermpp,
    "fusion": run_fusion,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted([*ONE_STEP, *OTHERS]))
def test_four_updates_equal_the_twin(name: str) -> None:
    algorithm, other = start(name), start(name)
    w = World(other, other.network, torch.Generator().manual_seed(1), {})
    for update in range(UPDATES):
        algorithm.update(batches(update))
    (run_one_step if name in ONE_STEP else OTHERS[name])(name, w)
    found, expected = algorithm.snapshot(), other.network.state_dict()
    moved = start(name).network.state_dict()
    for key, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(
                found[f"network.{key}"], value, rtol=0, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}"
            )
    assert any(not torch.allclose(moved[k], v) for k, v in expected.items() if v.is_floating_point())


def test_every_algorithm_has_a_twin() -> None:
    assert sorted([*ONE_STEP, *OTHERS]) == sorted(algorithms.names())


def test_statistics_per_domain_equal_a_pass_per_domain() -> None:
    """The second kind of batch statistics: one pass of the encoder per domain, as published benchmarks do."""
    joint, separate, twin = start("erm"), start("erm"), start("erm")
    separate.network.rows = ROWS
    step = batches(0)
    logits = torch.cat([twin.network(b.imu, b.mask) for b in step])
    expected = grads(ce(logits, torch.cat([b.label for b in step])), list(twin.network.parameters()))
    joint.update(step)
    separate.update(step)
    found = [p.grad for p in separate.network.parameters()]
    assert all(
        (a is None and b is None) or torch.allclose(a, b, atol=1e-12)  # type: ignore[arg-type]
        for a, b in zip(found, expected, strict=True)
    )
    assert not torch.allclose(joint.network.classifier.weight, separate.network.classifier.weight, atol=1e-4), (
        "the domains differ, so their statistics do"
    )
    same = twin.network.state_dict()
    running = {k: v for k, v in separate.network.state_dict().items() if "running" in k}
    assert running
    assert all(torch.equal(v, same[k]) for k, v in running.items())
