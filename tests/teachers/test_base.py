"""Teachers are frozen, self-describing and named by their content."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imu_video.errors import ConfigError
from imu_video.teachers.fingerprint import hash_state
from imu_video.teachers.projection import PCA, make_projection
from imu_video.teachers.tiny import TinyTeacher


def clips(n: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, 4, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


class Trainable(TinyTeacher):
    """A teacher with a parameter, dropout and batch norm: everything that could move."""

    def __init__(self) -> None:
        super().__init__(dim=8)
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5))
        self.freeze()

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(super().features(inputs))


def test_stays_in_evaluation_mode_and_takes_no_gradient() -> None:
    teacher = Trainable()
    parent = torch.nn.ModuleList([teacher]).train()
    assert parent.training
    assert not any(m.training for m in teacher.modules())
    teacher.train(True)
    assert not any(m.training for m in teacher.modules())
    with pytest.raises(ConfigError, match="frozen"):
        teacher.requires_grad_(True)
    for parameter in teacher.parameters():
        parameter.requires_grad = True  # behind its back
    features = teacher.encode(clips())
    assert not features.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())


def test_fingerprint_follows_weights_projection_and_recipe() -> None:
    base = TinyTeacher(seed=0)
    assert base.fingerprint == TinyTeacher(seed=0).fingerprint
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"modality": "skeleton"},
        {"projection": {"name": "orthogonal", "dim": 4}},
        {"projection": {"name": "orthogonal", "dim": 4, "seed": 1}},
    ]
    prints = {base.fingerprint, *(TinyTeacher(**o).fingerprint for o in others)}
    assert len(prints) == 1 + len(others)
    changed = TinyTeacher(seed=0)
    changed.matrix[0, 0] += 1e-3
    assert changed.fingerprint != base.fingerprint


def test_hash_sees_names_shapes_types_and_bytes() -> None:
    x = torch.arange(6.0)
    states = [{"a": x}, {"b": x}, {"a": x.view(2, 3)}, {"a": x.double()}, {"a": x + 1}]
    assert len({hash_state(s) for s in states}) == len(states)
    assert hash_state({"a": x, "b": x}) == hash_state({"b": x, "a": x})


@pytest.mark.parametrize(
    "inputs", [torch.zeros(4, 40, 48, 3, dtype=torch.uint8), torch.zeros(1, 4, 40, 48, 3), torch.zeros(1, 4, 20, 3)]
)
def test_wrong_axes_or_types_are_refused(inputs: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"must be \(B, F, H, W, 3\) uint8"):
        TinyTeacher().encode(inputs)


def test_orthogonal_projection_has_orthonormal_columns() -> None:
    projection = make_projection({"name": "orthogonal", "dim": 5, "seed": 3}, 12)
    gram = projection.matrix.T @ projection.matrix
    torch.testing.assert_close(gram, torch.eye(5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("whiten", [False, True])
def test_pca_equals_the_eigenvectors_of_the_covariance(whiten: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 3
    projection = PCA(width=6, dim=3, whiten=whiten)
    with pytest.raises(ConfigError, match="not fitted"):
        projection(x)
    before = projection.describe()
    projection.fit(x)
    assert projection.describe() != before
    values, vectors = torch.linalg.eigh(torch.cov(x.T.double()))
    naive = (x.double() - x.double().mean(0)) @ vectors.flip(1)[:, :3]
    if whiten:
        naive = naive / values.flip(0)[:3].sqrt()
    got = projection(x).double()
    signs = (got * naive).sum(0).sign()
    torch.testing.assert_close(got, naive * signs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("pac", "did you mean 'pca'"),
        ({"name": "pca", "dim": 99}, "1 to 8"),
        ({"name": "orthogonal", "sead": 1, "dim": 2}, "sead"),
    ],
)
def test_bad_projections_are_named(entry: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_projection(entry, 8)


def test_pca_needs_enough_samples() -> None:
    with pytest.raises(ConfigError, match="as many training samples, got 2"):
        PCA(width=6, dim=3).fit(torch.zeros(2, 6))
