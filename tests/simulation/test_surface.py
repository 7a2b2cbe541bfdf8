"""The surface of the body: places, normals, regions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pydantic import ValidationError

from imu_video.errors import ConfigError
from imu_video.simulation.body import SEGMENTS, Body
from imu_video.simulation.sensors import PLACEMENTS
from imu_video.simulation.surface import REGIONS, Region, region_of, surface_point

BODY = Body(height=1.8)


@pytest.mark.parametrize("segment", SEGMENTS)
def test_the_normal_is_perpendicular_to_the_surface_and_the_axes_are_right_handed(segment: str) -> None:
    for height in (0.11, 0.43, 0.88):
        for azimuth in (-150.0, -20.0, 10.0, 95.0, 170.0):
            point = surface_point(BODY, segment, height, azimuth)
            assert_allclose(point.axes.T @ point.axes, np.eye(3), atol=1e-12)
            assert_allclose(np.linalg.det(point.axes), 1.0)
            along = surface_point(BODY, segment, height + 1e-4, azimuth).offset - point.offset
            # A step of azimuth is a step of the ellipse's parameter: both lie in the surface.
            around = surface_point(BODY, segment, height, azimuth + 1e-3).offset - point.offset
            for step in (along, around):
                assert abs(step @ point.axes[:, 2]) < 2e-2 * np.linalg.norm(step)
            out = point.offset + 1e-3 * point.axes[:, 2]
            axis = 2 if not segment.endswith("foot") else 0
            radial = np.delete(np.arange(3), axis)
            centre = (
                surface_point(BODY, segment, height, azimuth).offset
                + surface_point(BODY, segment, height, azimuth + 180.0).offset
            )
            assert np.linalg.norm((out - centre / 2)[radial]) > np.linalg.norm((point.offset - centre / 2)[radial])


def test_left_and_right_are_mirror_images() -> None:
    for part in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot"):
        left, right = (surface_point(BODY, f"{side}_{part}", 0.4, 70.0) for side in ("left", "right"))
        assert_allclose(right.offset, left.offset * [1, -1, 1], atol=1e-12)
        assert_allclose(right.axes[:, 2], left.axes[:, 2] * [1, -1, 1], atol=1e-12)


def test_girth_and_stature_widen_the_surface() -> None:
    near = surface_point(BODY, "torso", 0.5, 0.0).offset
    assert surface_point(BODY, "torso", 0.5, 0.0, girth=1.3).offset[0] > 1.1 * near[0]
    assert surface_point(Body(height=1.5), "torso", 0.5, 0.0).offset[0] < near[0]


@pytest.mark.parametrize("name", sorted(PLACEMENTS))
def test_the_fixed_placements_lie_near_their_regions(name: str) -> None:
    """The middle of a region, turned by the middle of its turns, has the axes of the fixed placement of that name."""
    place, region = PLACEMENTS[name], REGIONS[name]
    segment = place.segment.format(pocket="right")
    middle = {"thigh": 0.0, "waist": -20.0, "head": 90.0}.get(name, float(np.mean(region.azimuth_deg)))
    middle = -middle if name == "head" else middle  # at the right ear; the head's azimuth counts to the left
    assert region.azimuth_deg[0] <= middle <= region.azimuth_deg[1]
    point = surface_point(BODY, segment, float(np.mean(region.height)), middle)
    turn = np.deg2rad(np.mean(region.turn_deg))
    axes = point.axes @ np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    angle = np.degrees(np.arccos(np.clip((np.trace(axes.T @ place.axes) - 1) / 2, -1, 1)))
    assert angle < 25
    lengths = {"forearm": BODY.forearm, "torso": BODY.trunk, "pelvis": BODY.lumbar, "thigh": BODY.thigh}
    length = {**lengths, "shank": BODY.shank, "head": BODY.neck}[segment.rpartition("_")[2]]
    assert_allclose(point.offset, np.array(place.offset) * (BODY.height, BODY.height, length), atol=0.06)


def test_regions_are_found_with_and_without_a_number() -> None:
    own = {"belly": Region(segments=["pelvis"])}
    assert region_of("forearm_12") is REGIONS["forearm"]
    assert region_of("left_wrist") is REGIONS["left_wrist"]
    assert region_of("belly_1", own) is own["belly"]
    assert region_of("forearm_x") is None
    assert region_of("_1") is None


def test_impossible_regions_and_segments_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'left_shank'"):
        surface_point(BODY, "left_shnk", 0.5, 0.0)
    with pytest.raises(ValidationError, match="did you mean"):
        Region(segments=["torsoo"])
    with pytest.raises(ValidationError, match=r"expected \[lowest, highest\]"):
        Region(segments=["torso"], height=(0.9, 0.1))
