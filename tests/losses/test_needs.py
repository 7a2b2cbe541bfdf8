"""What a loss needs is stated by its class from its arguments, and is what the built loss has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imu_video import registry
from imu_video.errors import ConfigError
from imu_video.losses import LossMix, LossNeeds, PairLoss
from imu_video.testing import check_loss
from imu_video.types import LossOutput, PairEmbeddings

SHIPPED = [{"name": name} for name in registry.losses.names() if not name.startswith("test_")]
VARIANTS: list[tuple[dict[str, Any], LossNeeds]] = [
    ({"name": "info_nce"}, LossNeeds()),
    ({"name": "queue_distill", "size": 48}, LossNeeds(fixed_target=True, queue_size=48, warm_rows=48)),
    (
        {"name": "queue_distill", "size": 48, "target": "teacher"},
        LossNeeds(inputs=frozenset({"side", "teacher"}), queue_size=48),
    ),
    ({"name": "nearest_neighbour", "size": 40}, LossNeeds(queue_size=40)),
    ({"name": "hard_negative"}, LossNeeds()),
    ({"name": "hard_negative", "between": "augmented_pair"}, LossNeeds(inputs=frozenset({"augmented_pair"}))),
    (
        {"name": "hard_negative", "guard": 0.9, "queue": 64},
        LossNeeds(inputs=frozenset({"side", "teacher"}), queue_size=64),
    ),
    ({"name": "cmc_cmkm"}, LossNeeds(inputs=frozenset({"side", "teacher"}))),
    ({"name": "cmc_cmkm", "guide": "other"}, LossNeeds()),
    ({"name": "vicreg"}, LossNeeds(inputs=frozenset({"augmented_pair"}))),
    ({"name": "vicreg", "between": "side"}, LossNeeds()),
    ({"name": "barlow_twins", "between": "side"}, LossNeeds()),
    ({"name": "feature_regression"}, LossNeeds(fixed_target=True)),
    ({"name": "relational"}, LossNeeds(inputs=frozenset({"teacher"}))),
    (
        {"name": "collossl", "distances": "a_priori", "a_priori_rows": 99},
        LossNeeds(inputs=frozenset({"devices"}), warm_rows=99),
    ),
]


@pytest.fixture
def unbuildable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss can be built."""

    def refuse(self: PairLoss, *arguments: object, **named: object) -> None:
        raise AssertionError(f"{type(self).__name__} was built")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)


@pytest.mark.parametrize(("entry", "expected"), VARIANTS, ids=[str(entry) for entry, _ in VARIANTS])
def test_needs_follow_from_the_arguments_alone(entry: dict[str, Any], expected: LossNeeds, unbuildable: None) -> None:
    (term,) = LossMix.parse([entry], registry.losses)
    assert term.needs == expected


@pytest.mark.parametrize("entry", [*SHIPPED, *(entry for entry, _ in VARIANTS)], ids=str)
def test_a_built_loss_has_what_its_class_states(entry: dict[str, Any]) -> None:
    (term,) = LossMix.parse([entry], registry.losses)
    assert LossNeeds.of_attributes(term.entry.build()) == term.needs


def test_a_mix_needs_what_its_terms_need_together() -> None:
    entries = ["nt_xent", {"name": "queue_distill", "size": 32}, {"name": "nearest_neighbour", "size": 64}]
    needs = LossNeeds.of_all(term.needs for term in LossMix.parse(entries, registry.losses))
    expected = LossNeeds(inputs=frozenset({"augmented_pair", "side"}), fixed_target=True, queue_size=64, warm_rows=32)
    assert needs == expected == LossNeeds.of_attributes(LossMix.build(entries))


def test_widths_of_the_model_fill_what_a_config_leaves_out() -> None:
    terms = LossMix.parse(
        [{"name": "nearest_neighbour", "size": 8}, {"name": "nearest_neighbour", "size": 8, "dim": 5}],
        registry.losses,
        dim=128,
    )
    assert [term.entry.arguments["dim"] for term in terms] == [128, 5]
    assert [term.entry.filled(dim=16, teacher_dim=7).arguments["dim"] for term in terms] == [16, 5]
    assert "teacher_dim" not in terms[0].entry.filled(teacher_dim=7).arguments


class Narrowed(PairLoss):
    """Sets its needs when it is built and states others."""

    def __init__(self) -> None:
        super().__init__()
        self.needs = frozenset({"teacher"})

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        assert pair.teacher is not None
        total = (pair.imu - pair.teacher).square().mean()
        return LossOutput(total=total)


def test_a_loss_that_differs_from_its_statement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.losses._classes, "narrowed", Narrowed)
    with pytest.raises(ConfigError, match=r"'narrowed' as built(.|\n)*adopt_needs"):
        LossMix.build(["narrowed"])
    with pytest.raises(AssertionError, match="needs_of states"):
        check_loss("narrowed")


def test_a_class_without_a_statement_is_read_from_its_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(torch.nn.Module):
        needs = frozenset({"teacher"})
        queue_size = 3

    monkeypatch.setitem(registry.losses._classes, "plain", Plain)
    assert LossMix.parse(["plain"], registry.losses)[0].needs == LossNeeds(inputs=frozenset({"teacher"}), queue_size=3)
    assert LossMix.build(["plain"]).needs == {"teacher"}
