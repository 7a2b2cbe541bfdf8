"""Contract check of quality checks; their thresholds are not validated for specific sensors."""

from __future__ import annotations

import math

import numpy as np

from imu_video import registry
from imu_video.recordings.sync import SyncEstimate
from imu_video.testing.base import Component, build, require
from imu_video.types import GRAVITY, ImuStream


def check_quality(check: Component) -> None:
    """Check that a quality check has no findings on healthy recordings and valid findings on faulty ones.

    The healthy inputs are a walking waist with sensor noise, a moving image with camera noise, and a sync estimate far
    above the required score. On faulty inputs (dead, clipped, interrupted, black, frozen, not aligned) it may have
    findings, with finite values and intervals of positive length. Inputs must not change, and the same input must give
    the same findings.

    Args:
        check: name, config entry or built component.

    Raises:
        AssertionError: naming the broken point.

    Example:
        >>> check_quality({"name": "flat", "seconds": 2.0})
    """
    component = build(registry.checks, check)
    name = type(component).__name__
    require(isinstance(component.unit, str) and component.unit != "", f"{name}: declare the unit of its values")
    require(math.isfinite(component.threshold), f"{name}: threshold is {component.threshold}, expected a number")
    rng = np.random.default_rng(7)
    healthy = _walk(rng)
    require(component.stream(healthy) == [], f"{name} reports a finding on a healthy waist")
    moving = rng.integers(40, 200, (8, 32, 48, 3)).astype(np.uint8)
    require(component.clip(moving) is None, f"{name} reports a finding on a healthy clip")
    require(component.sync(_estimate(0.9), 0.6) == [], f"{name} reports an estimate of 0.9, but 0.6 is enough")

    for stream in _broken(healthy):
        before = stream.values.copy()
        spells = component.stream(stream)
        require(np.array_equal(before, stream.values, equal_nan=True), f"{name} changes its input")
        require(spells == component.stream(stream), f"{name}: one stream gives two results")
        for spell in spells:
            inside = stream.times[0] <= spell.start < spell.end <= stream.times[-1] + 1.0
            require(inside and math.isfinite(spell.value), f"{name}: {spell} is not an interval of the stream")
    for clip in (np.zeros_like(moving), np.repeat(moving[:1], 8, axis=0)):
        value = component.clip(clip)
        require(value is None or math.isfinite(value), f"{name}: clip value {value} is not finite")
        require(value == component.clip(clip), f"{name}: one clip gives two results")
    for spell in component.sync(_estimate(0.1), 0.6):
        require(spell.start < spell.end and math.isfinite(spell.value), f"{name}: {spell} is not an interval")
    require(component.worst([1.0]) == 1.0, f"{name}: the worst of one value must be that value")


def _walk(rng: np.random.Generator) -> ImuStream:
    times = np.arange(3000) / 50
    steps = np.sin(2 * np.pi * 1.8 * times)
    values = rng.normal(0, 0.05, (6, len(times)))
    values[0] += 1.5 * steps
    values[2] += GRAVITY + 2.5 * steps
    values[3:] += 0.8 * np.sin(2 * np.pi * 0.9 * times + np.arange(3)[:, None])
    return ImuStream(placement="waist", times=times, values=values)


def _broken(healthy: ImuStream) -> list[ImuStream]:
    dead = healthy.values.copy()
    dead[:, 500:1500] = 0.0
    clipped = np.clip(3 * healthy.values, -20, 20)
    lost = healthy.values.copy()
    lost[:, 500:700] = np.nan
    lost[0, 900] = np.inf
    lost[1, 1000:1010] = np.nan
    jumped = healthy.times + 60.0 * (np.arange(len(healthy.times)) > 1000)
    streams = [ImuStream(placement="waist", times=healthy.times, values=v) for v in (dead, clipped, lost)]
    return [*streams, ImuStream(placement="waist", times=jumped, values=healthy.values)]


def _estimate(score: float) -> SyncEstimate:
    return SyncEstimate(
        reference="video",
        placement="waist",
        offset_s=0.1,
        drift_ppm=0.0,
        score=score,
        correlation=score,
        origin_s=0.0,
    )
