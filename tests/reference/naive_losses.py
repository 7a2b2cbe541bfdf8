"""Slow twins of the loss equations: loops over scalars in float64, so that autograd gives their gradient too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ZERO = torch.zeros((), dtype=torch.float64)


def dot(a: Tensor, b: Tensor) -> Tensor:
    out = ZERO
    for x, y in zip(a, b, strict=True):
        out = out + x * y
    return out


def softmax(values: Sequence[Tensor]) -> list[Tensor]:
    top = max(v.item() for v in values)
    weights = [(v - top).exp() for v in values]
    total = sum(weights, ZERO)
    return [w / total for w in weights]


def log_of_sum(values: Sequence[Tensor]) -> Tensor:
    top = max(v.item() for v in values)
    return top + sum(((v - top).exp() for v in values), ZERO).log()


def info_nce(z: Tensor, v: Tensor, temperature: float) -> Tensor:
    n, total = len(z), ZERO
    for a, b in ((z, v), (v, z)):
        for i in range(n):
            logits = [dot(a[i], b[j]) / temperature for j in range(n)]
            total = total - 0.5 * softmax(logits)[i].log() / n
    return total


def soft_target(z: Tensor, v: Tensor, temperature: float, target_scale: float) -> Tensor:
    n, total = len(z), ZERO
    p = []
    for i in range(n):
        p.append(softmax([0.5 * (dot(v[i], v[j]) + dot(z[i], z[j])) * target_scale for j in range(n)]))
    for i in range(n):
        forth = softmax([dot(z[i], v[j]) / temperature for j in range(n)])
        back = softmax([dot(v[i], z[j]) / temperature for j in range(n)])
        for j in range(n):
            total = total - 0.5 * (p[i][j] * forth[j].log() + p[j][i] * back[j].log()) / n
    return total


def hard_negative(
    z: Tensor,
    v: Tensor,
    *,
    temperature: float,
    beta: float,
    tau_plus: float = 0.0,
    on_cosine: bool = False,
    detach: bool = False,
    negatives: Sequence[Sequence[int]] | None = None,
    prior: Tensor | None = None,
    queue: tuple[Tensor, Tensor] | None = None,
    top_k: int | None = None,
    intra: bool = False,
) -> Tensor:
    """``queue``: (imu, video) rows; ``negatives``: allowed columns (batch, then queue) of every row.

    ``intra``: the columns of the row's own side follow, with the same negatives.
    """
    n, total = len(z), ZERO
    earlier = queue if queue is not None else (z[:0], v[:0])
    for a, b, old, own_old in ((z, v, earlier[1], earlier[0]), (v, z, earlier[0], earlier[1])):
        columns = [*b, *old]
        size = len(columns)
        if intra:
            columns = [*columns, *a, *own_old]
        for i in range(n):
            allowed = list(negatives[i]) if negatives is not None else [j for j in range(size) if j != i]
            if intra:
                allowed = [*allowed, *(size + j for j in allowed)]
            cosines = {j: dot(a[i], columns[j]) for j in allowed}
            if top_k is not None:
                allowed = sorted(allowed, key=lambda j: -cosines[j].item())[:top_k]
            if not allowed:
                continue
            positive = (dot(a[i], b[i]) / temperature).exp()
            raw = {}
            for j in allowed:
                s = cosines[j] if on_cosine else cosines[j] / temperature
                raw[j] = (beta * s).exp() * (1.0 if prior is None else prior[i, j % size])
            mean = sum(raw.values(), ZERO) / len(allowed)
            mass = ZERO
            for j in allowed:
                weight = raw[j] / mean
                mass = mass + (weight.detach() if detach else weight) * (cosines[j] / temperature).exp()
            count = len(allowed)
            corrected = (mass - tau_plus * count * positive) / (1 - tau_plus)
            least = ZERO + count * math.exp(-1 / temperature)
            kept = corrected if corrected.item() > least.item() else least
            total = total - 0.5 * (positive / (positive + kept)).log() / n
    return total


def queue_distill(
    z: Tensor, keys: Tensor, teacher_rows: Tensor, teacher_keys: Tensor, tau_s: float, tau_t: float
) -> Tensor:
    total = ZERO
    for i in range(len(z)):
        p = softmax([dot(teacher_rows[i], k).detach() / tau_t for k in teacher_keys])
        q = softmax([dot(z[i], k.detach()) / tau_s for k in keys])
        for target, got in zip(p, q, strict=True):
            total = total - target * got.log() / len(z)
    return total


def relational(z: Tensor, t: Tensor, tau_s: float, tau_t: float, mse: bool) -> Tensor:
    n, total = len(z), ZERO
    t = t / t.norm(dim=1, keepdim=True)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        student = [dot(z[i], z[j]) for j in others]
        teacher = [dot(t[i], t[j]) for j in others]
        if mse:
            for s, x in zip(student, teacher, strict=True):
                total = total + (s - x) ** 2 / (n * (n - 1))
            continue
        p, q = softmax([x / tau_t for x in teacher]), softmax([s / tau_s for s in student])
        for a, b in zip(p, q, strict=True):
            total = total + a * (a.log() - b.log()) / n
    return total


def mining(
    z: Tensor,
    v: Tensor,
    guides: tuple[Tensor, Tensor],
    *,
    temperature: float,
    top_k: int,
    prune: float,
    intra_weight: float,
    connectivity_scale: float,
) -> Tensor:
    n, total = len(z), ZERO
    for (a, b), guide in zip(((z, v), (v, z)), guides, strict=True):
        connected = [sum(guide[j, k].item() for k in range(n) if k != j) / (n - 1) for j in range(n)]
        pruned = sorted(range(n), key=lambda j: -connected[j])[: int(prune * n)]
        strength = [math.exp(connectivity_scale * c) for c in connected]
        for i in range(n):
            near = sorted((j for j in range(n) if j != i), key=lambda j: -guide[i, j].item())[:top_k]
            positives = [i, *near]
            negatives = [j for j in range(n) if j not in positives and j not in pruned]
            z_i = sum(((dot(a[i], b[j]) / temperature).exp() for j in [*positives, *negatives]), ZERO)
            z_i = z_i + intra_weight * sum(((dot(a[i], a[j]) / temperature).exp() for j in negatives), ZERO)
            cost = sum((z_i.log() - dot(a[i], b[p]) / temperature for p in positives), ZERO) / len(positives)
            total = total + 0.5 * strength[i] / (sum(strength) / n) * cost / n
    return total


def nt_xent(z: Tensor, y: Tensor, temperature: float) -> Tensor:
    n, total = len(z), ZERO
    views = [*z, *y]
    for i in range(2 * n):
        logits = [dot(views[i], views[k]) / temperature for k in range(2 * n) if k != i]
        total = total + (log_of_sum(logits) - dot(views[i], views[(i + n) % (2 * n)]) / temperature) / (2 * n)
    return total


def vicreg(x: Tensor, y: Tensor, weights: tuple[float, float, float]) -> Tensor:
    n, d = x.shape
    x, y = x * math.sqrt(d), y * math.sqrt(d)
    invariance, variance, covariance = ZERO, ZERO, ZERO
    for i in range(n):
        for k in range(d):
            invariance = invariance + (x[i, k] - y[i, k]) ** 2 / (n * d)
    for side in (x, y):
        mean = [sum((side[i, k] for i in range(n)), ZERO) / n for k in range(d)]
        for k in range(d):
            for m in range(d):
                c = sum(((side[i, k] - mean[k]) * (side[i, m] - mean[m]) for i in range(n)), ZERO) / (n - 1)
                if k == m:
                    short = 1 - (c + 1e-4).sqrt()
                    variance = variance + (short if short.item() > 0 else ZERO) / d
                else:
                    covariance = covariance + c**2 / d
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


def barlow_twins(x: Tensor, y: Tensor, redundancy: float) -> Tensor:
    n, d = x.shape
    total = ZERO
    sides = []
    for side in (x, y):
        mean = [sum((side[i, k] for i in range(n)), ZERO) / n for k in range(d)]
        std = [(sum(((side[i, k] - mean[k]) ** 2 for i in range(n)), ZERO) / n + 1e-12).sqrt() for k in range(d)]
        sides.append([[(side[i, k] - mean[k]) / std[k] for k in range(d)] for i in range(n)])
    for k in range(d):
        for m in range(d):
            c = sum((sides[0][i][k] * sides[1][i][m] for i in range(n)), ZERO) / n
            total = total + ((1 - c) ** 2 if k == m else redundancy * c**2)
    return total


def segment_alignment(
    x: Tensor, y: Tensor, *, temperature: float, max_shift: int, dilations: Sequence[float], sharpness: float
) -> Tensor:
    n, s, _ = x.shape
    centre = (s - 1) / 2
    paths: list[list[tuple[int, int]]] = []
    for a in dilations:
        for shift in range(-max_shift, max_shift + 1):
            path = []
            for here in range(s):
                there = math.floor(centre + a * (here - centre) + shift + 0.5)
                if 0 <= there < s:
                    path.append((here, there))
            if len(path) * 2 >= s and path not in paths:
                paths.append(path)
    similarity = [[ZERO] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            means = [sum((dot(x[i, p], y[j, q]) for p, q in path), ZERO) / len(path) for path in paths]
            similarity[i][j] = sharpness * (log_of_sum([m / sharpness for m in means]) - math.log(len(paths)))
    total = ZERO
    for i in range(n):
        row = [similarity[i][j] / temperature for j in range(n)]
        column = [similarity[j][i] / temperature for j in range(n)]
        total = total + 0.5 * (log_of_sum(row) + log_of_sum(column) - 2 * row[i]) / n
    return total


def mmd(x: Tensor, y: Tensor, unbiased: bool = False) -> float:
    widths = (1e-4, 1e-3, 1e-2, 1e-1, 1, 5, 10, 15, 20, 25, 30, 100)

    def k(a: Tensor, b: Tensor) -> float:
        squared = sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True))
        return sum(math.exp(-squared / (2 * s)) for s in widths)

    n = len(x)
    within = [(i, j) for i in range(n) for j in range(n) if not (unbiased and i == j)]
    inside = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in within) / len(within)
    return inside - 2 * sum(k(x[i], y[j]) for i in range(n) for j in range(n)) / n**2


def collossl(
    devices: Tensor,
    anchor: int,
    positives: Sequence[int],
    negatives: Sequence[tuple[int, float, Sequence[int]]],
    temperature: float,
    scale: float,
) -> Tensor:
    """``negatives``: (device, weight before scaling, other row of every row); ``scale`` divides all weights."""
    total = ZERO
    for i in range(len(devices)):
        top = sum(((1 / scale) * (dot(devices[i, anchor], devices[i, p]) / temperature).exp() for p in positives), ZERO)
        rest = ZERO
        for device, weight, other in negatives:
            cosine = dot(devices[i, anchor], devices[other[i], device])
            rest = rest + weight / scale * (cosine / temperature).exp()
        total = total - (top / (top + rest)).log() / len(devices)
    return total


def released_mining(
    z: Tensor, v: Tensor, guides: tuple[Tensor, Tensor], *, temperature: float, top_k: int, intra_weight: float
) -> Tensor:
    """``guides``: similarities of each modality, imu first; across modalities the one of the other modality mines."""
    n, total = len(z), ZERO
    for a, b, own_guide, other_guide in ((z, v, guides[0], guides[1]), (v, z, guides[1], guides[0])):
        for i in range(n):
            others = [j for j in range(n) if j != i]
            across = sorted(others, key=lambda j: -other_guide[i, j].item())[:top_k]
            inside = sorted(others, key=lambda j: -own_guide[i, j].item())[:top_k]
            numerator, denominator = ZERO, ZERO
            for j in range(n):
                term = (dot(a[i], b[j]) / temperature).exp()
                if j == i or j in across:
                    numerator = numerator + term
                else:
                    denominator = denominator + term
            for j in others:
                term = dot(a[i], a[j]).exp()
                if j in inside and intra_weight:
                    numerator = numerator + term
                elif j not in inside:
                    denominator = denominator + intra_weight * term
            total = total - 0.5 * (numerator / (numerator + denominator)).log() / n
    return total


def shared_text_nce(
    z: Tensor, texts: Tensor, numbers: Sequence[int], likeness: Tensor, scale: float, *, both: bool
) -> Tensor:
    """Rows with number -1 have no text; ``texts`` (K, W); in one batch (``both``) or against all texts."""
    there = [i for i, number in enumerate(numbers) if number >= 0]
    total = ZERO
    for i in there:
        columns = [numbers[j] for j in there] if both else list(range(len(texts)))
        like = [likeness[numbers[i], k] for k in columns]
        mass = sum(like, ZERO)
        forth = softmax([scale * dot(z[i], texts[k]) for k in columns])
        value = -sum((w / mass * p.log() for w, p in zip(like, forth, strict=True) if w > 0), ZERO)
        if both:
            back = softmax([scale * dot(texts[numbers[i]], z[j]) for j in there])
            value = 0.5 * value - 0.5 * sum(
                (w / mass * p.log() for w, p in zip(like, back, strict=True) if w > 0), ZERO
            )
        total = total + value / len(there)
    return total
