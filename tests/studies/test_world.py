"""The study of the simulated world: its statistics, its discrepancy against a naive twin, its arms."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from studies.world.distance import Kernels, bandwidth, intervals, kernels, mmd2
from studies.world.features import Window, bands, names, spectrum, table

RNG = np.random.default_rng(0)


def group(count: int, shift: float, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"s{i}": shift + rng.normal(0, 0.3, 2) + rng.normal(0, 1, (rng.integers(2, 5), 2)) for i in range(count)}


def naive(real: dict[str, np.ndarray], simulated: dict[str, np.ndarray], scale: float) -> float:
    """The discrepancy with loops over subjects and windows."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        each = [math.exp(-sum((p - q) ** 2 for p, q in zip(x, y, strict=True)) / (2 * scale**2)) for x in a for y in b]
        return sum(each) / len(each)

    def within(subjects: dict[str, np.ndarray]) -> float:
        each = [kernel(subjects[i], subjects[j]) for i in subjects for j in subjects if i != j]
        return sum(each) / len(each)

    cross = [kernel(a, b) for a in real.values() for b in simulated.values()]
    return within(real) + within(simulated) - 2 * sum(cross) / len(cross)


def test_discrepancy_is_that_of_its_definition() -> None:
    real, simulated = group(4, 0.0, 1), group(3, 0.7, 2)
    assert mmd2(kernels(real, simulated, 1.3)) == pytest.approx(naive(real, simulated, 1.3), rel=1e-9)
    pooled = np.concatenate([*real.values(), *simulated.values()])
    each = [float(np.linalg.norm(a - b)) for i, a in enumerate(pooled) for b in pooled[:i]]
    assert bandwidth(pooled) == pytest.approx(np.median(each), rel=1e-6)


def test_discrepancy_is_unbiased_and_grows_with_the_shift() -> None:
    same = [mmd2(kernels(group(6, 0.0, 10 + i), group(6, 0.0, 100 + i), 1.5)) for i in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(60)
    far = [mmd2(kernels(group(6, 0.0, 5), group(6, shift, 6), 1.5)) for shift in (0.5, 1.0, 2.0)]
    assert far[0] < far[1] < far[2]


def test_intervals_are_paired_and_ignore_a_subject_against_itself() -> None:
    real = group(8, 0.0, 1)
    arms: dict[str, Kernels] = {
        "before": kernels(real, group(8, 1.5, 2), 1.5),
        "after": kernels(real, group(8, 0.2, 3), 1.5),
    }
    found = intervals(arms, against="before", draws=200)
    assert found["before"]["difference"] == [0.0, 0.0, 0.0]
    assert found["after"]["difference"][2] < 0
    twice = np.array([0, 0, 1, 2])
    once = np.array([0, 1, 2])
    alone = Kernels(real=np.eye(3) * 9, simulated=np.zeros((3, 3)), cross=np.zeros((3, 3)))
    assert mmd2(alone, twice, once) == 0.0


def window(values: np.ndarray, label: str = "walk") -> Window:
    return Window(subject="a", mounted="a", label=label, values=values)


def test_statistics_do_not_depend_on_how_the_device_is_turned() -> None:
    values = RNG.normal(0, 1, (6, 200)) + np.array([0, 0, 9.8, 0, 0, 0])[:, None]
    turn = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    turned = np.concatenate([turn @ values[:3], turn @ values[3:]])
    one, two = (table([window(v)], 50.0, gyroscope=True) for v in (values, turned))
    assert_allclose(one, two, atol=1e-3)  # a tilt of 0 is an angle of a rounded cosine
    assert one.shape[1] == len(names(50.0, True)) == 2 * len(bands(50.0)) + 3


def test_power_jerk_and_tilt_have_their_units() -> None:
    t = np.arange(400) / 100
    swing = np.stack([3 * np.sin(2 * np.pi * 5 * t), 0 * t, 0 * t + 9.8])
    frequency, power = spectrum(swing, 100.0)
    assert power.sum() == pytest.approx(4.5, rel=0.01)
    assert frequency[power.argmax()] == pytest.approx(5.0)
    lying = np.stack([0 * t + 9.8, 0 * t, 0 * t])
    columns = names(100.0, False)
    upright, flat = table([window(swing), window(lying, "lie")], 100.0, gyroscope=False)
    assert upright[columns.index("acc 4-8 Hz")] == pytest.approx(np.log10(4.5), abs=0.01)
    assert upright[columns.index("jerk")] == pytest.approx(np.log10(3 * 2 * np.pi * 5 / np.sqrt(2)), abs=0.02)
    assert flat[columns.index("tilt")] == pytest.approx(90.0, abs=0.1)


def test_arms_differ_by_one_item_and_have_the_rate_of_their_source(runner: Callable[[str], ModuleType]) -> None:
    study = runner("world")
    arms = study.arms(25.0, 0)
    assert list(arms) == ["before", "place", "strap", "device", "after", "impacts"]
    for arm in arms.values():
        assert arm.device.rate_hz == (25.0, 25.0)
    assert [arm for arm, r in arms.items() if r.mount] == ["place", "after", "impacts"]
    assert [arm for arm, r in arms.items() if r.strap] == ["strap", "after", "impacts"]
    assert len({source.name for source in study.SOURCES}) == len(study.SOURCES)


def test_a_source_is_compared_with_every_arm(runner: Callable[[str], ModuleType]) -> None:
    study = runner("world")
    source = study.Source(
        dataset="made", folder="made", placement="waist", simulated="waist", rate_hz=25.0, classes={"walk": "walk"}
    )
    motions = [m for m in study.sessions(2, 0) if m[1] == "1"]
    found = study.simulated_windows(source, 0, motions)
    real = [
        Window(subject=f"r{k}", mounted=f"r{k}", label=w.label, values=w.values + RNG.normal(0, 0.5, w.values.shape))
        for k, w in enumerate(w for w in found["before"] if w.label == "walk")
    ]
    (row,) = study.compared(source, real, found)
    assert row["class"] == "walk"
    assert set(row["mmd"]) == {"before", "place", "strap", "device", "after", "impacts"}
    assert row["subjects"] == len(real)
    assert len(row["median"]["real"]) == len(row["columns"])
