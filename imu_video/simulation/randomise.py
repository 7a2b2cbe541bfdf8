"""Domain randomisation of worn devices and captured motion: ranges in a config, and draws from them; no signals.

Every draw is a pure function of (seeds, subject, recording, placement), so that a recording with fewer devices has the
same data. What was drawn is recorded: see `WornDevice`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from imu_video.arguments import Seed
from imu_video.config import Config
from imu_video.errors import ConfigError, nearest
from imu_video.simulation.body import SIDES
from imu_video.simulation.impacts import SHARES, Impact
from imu_video.simulation.person import Person, stream
from imu_video.simulation.rotations import exponential
from imu_video.simulation.sensors import PLACEMENTS, PROFILES, Mount, SensorProfile, about_z, draw_mount, look_up
from imu_video.simulation.strap import Strap
from imu_video.simulation.surface import POCKET, REGIONS, Region, Rising, region_of, surface_point
from imu_video.types import GRAVITY

RANDOM = "random"
"""Name of the device whose profile is drawn per recording and placement."""

_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=0.2)]
_Factor = Annotated[float, Field(ge=0.1, le=10)]
Log = Annotated[tuple[_Positive, _Positive], Rising]
"""A range [lowest, highest] from which the logarithm is drawn uniformly."""


def _upto(highest: float) -> AfterValidator:
    """For a range: nothing above the highest value that a sensor could have."""

    def check(pair: tuple[float, float]) -> tuple[float, float]:
        if pair[1] > highest:
            raise ValueError(f"expected at most {highest:g}, got {list(pair)}")
        return pair

    return AfterValidator(check)


def _rates(pair: tuple[float, float]) -> tuple[float, float]:
    if not (pair[0] >= 1 and pair[1] <= 120):
        raise ValueError(f"expected rates of 1 to 120 Hz, got {list(pair)}")
    return pair


def _straps(pair: tuple[float, float]) -> tuple[float, float]:
    if not (pair[0] >= 1 and pair[1] <= 1000):
        raise ValueError(f"expected natural frequencies of 1 to 1000 Hz, got {list(pair)}")
    return pair


class DeviceRanges(Config):
    """Ranges of the profile of the device ``random``; see `SensorProfile` for the quantities.

    The defaults span consumer and research devices: data sheets of MEMS sensors give noise densities of 0.1 to 0.4
    mg/sqrt(Hz) and 0.005 to 0.03 deg/s/sqrt(Hz), zero offsets of 20 to 80 mg and 0.1 to 5 deg/s, and cross-axis
    sensitivities of 1 to 2 %.

    Args:
        rate_hz: samples per second, 1 to 120.
        acc_range_g: full scales in g, at least 0.5; one is drawn.
        gyr_range_deg_s: full scales in deg/s, at least 10; one is drawn.
        acc_step: resolution in m/s^2, at most 10.
        gyr_step: resolution in rad/s, at most 10.
        acc_noise: white noise in m/s^2, at most 10.
        gyr_noise: white noise in rad/s, at most 10.
        acc_bias: standard deviation of the constant error in m/s^2, at most 10.
        gyr_bias: the same in rad/s.
        scale_error: relative error of the gain, at most 0.5.
        cross_axis: share of another axis, at most 0.5.
        jitter: of sample times, relative to the period, at most 0.2.
        drift: relative error of the clock.
        losses_per_minute: short interruptions, at most 60.
        cut_off: -3 dB of the low-pass relative to the rate.
        mount_deg: standard deviation of the mounting angle in degrees, at most 180.
        slack_deg: standard deviation of slow rotation during the session in degrees.
        flip: probability that a person wears the device turned by 180 degrees.
    """

    rate_hz: Annotated[Log, AfterValidator(_rates)] = (20.0, 100.0)
    acc_range_g: Annotated[list[Annotated[float, Field(ge=0.5)]], Field(min_length=1)] = [2.0, 4.0, 8.0, 16.0]
    gyr_range_deg_s: Annotated[list[Annotated[float, Field(ge=10)]], Field(min_length=1)] = [
        250.0,
        500.0,
        1000.0,
        2000.0,
    ]
    acc_step: Annotated[Log, _upto(10)] = (0.0006, 0.15)
    gyr_step: Annotated[Log, _upto(10)] = (0.0001, 0.03)
    acc_noise: Annotated[Log, _upto(10)] = (0.005, 0.1)
    gyr_noise: Annotated[Log, _upto(10)] = (0.0005, 0.02)
    acc_bias: Annotated[Log, _upto(10)] = (0.02, 0.5)
    gyr_bias: Annotated[Log, _upto(10)] = (0.002, 0.08)
    scale_error: Annotated[Log, _upto(0.5)] = (0.001, 0.03)
    cross_axis: Annotated[Log, _upto(0.5)] = (0.001, 0.03)
    jitter: Annotated[tuple[_Share, _Share], Rising] = (0.002, 0.1)
    drift: Annotated[tuple[_Share, _Share], Rising] = (2e-6, 1e-4)
    losses_per_minute: Annotated[Log, _upto(60)] = (0.02, 2.0)
    cut_off: Annotated[tuple[Annotated[float, Field(ge=0.1, le=1)], Annotated[float, Field(ge=0.1, le=1)]], Rising] = (
        0.25,
        0.6,
    )
    mount_deg: Annotated[Log, _upto(180)] = (2.0, 12.0)
    slack_deg: Annotated[Log, _upto(180)] = (0.3, 4.0)
    flip: Annotated[float, Field(ge=0, le=1)] = 0.1

    def draw(self, rng: np.random.Generator) -> SensorProfile:
        """One profile."""

        def log(pair: tuple[float, float]) -> float:
            return float(np.exp(rng.uniform(np.log(pair[0]), np.log(pair[1]))))

        acc = float(rng.choice(self.acc_range_g)) * GRAVITY
        gyr = float(np.deg2rad(rng.choice(self.gyr_range_deg_s)))
        return SensorProfile(
            rate_hz=log(self.rate_hz),
            acc_range=acc,
            gyr_range=gyr,
            acc_step=log(self.acc_step),
            gyr_step=log(self.gyr_step),
            acc_noise=log(self.acc_noise),
            gyr_noise=log(self.gyr_noise),
            acc_bias=log(self.acc_bias),
            gyr_bias=log(self.gyr_bias),
            scale_error=log(self.scale_error),
            cross_axis=log(self.cross_axis),
            jitter=log(self.jitter),
            drift=log(self.drift),
            losses_per_minute=log(self.losses_per_minute),
            cut_off=log(self.cut_off),
            mount=float(np.deg2rad(log(self.mount_deg))),
            slip=0.0,
            flip=self.flip,
            slack=float(np.deg2rad(log(self.slack_deg))),
        )


class StrapRanges(Config):
    """Ranges of the coupling of devices to the body by attachment; see `Strap`.

    Args:
        strap_hz: natural frequencies of a device that is strapped or glued to the skin, 1 to 1000 Hz.
        belt_hz: the same of a device on a belt.
        pocket_hz: the same of a device that lies in a pocket.
        damping: damping ratio, 0.05 to 2.
        tilt_deg_per_g: rotation by the device's weight in degrees, 0 to 10.
    """

    strap_hz: Annotated[Log, AfterValidator(_straps)] = (10.0, 50.0)
    belt_hz: Annotated[Log, AfterValidator(_straps)] = (6.0, 25.0)
    pocket_hz: Annotated[Log, AfterValidator(_straps)] = (3.0, 10.0)
    damping: Annotated[
        tuple[Annotated[float, Field(ge=0.05, le=2)], Annotated[float, Field(ge=0.05, le=2)]], Rising
    ] = (0.2, 0.6)
    tilt_deg_per_g: Annotated[
        tuple[Annotated[float, Field(ge=0, le=10)], Annotated[float, Field(ge=0, le=10)]], Rising
    ] = (0.0, 3.0)

    def draw(self, attachment: str, rng: np.random.Generator) -> Strap:
        """One strap of an attachment: ``strap``, ``belt`` or ``pocket``."""
        low, high = np.log(getattr(self, f"{attachment}_hz"))
        return Strap(
            hz=float(np.exp(rng.uniform(low, high))),
            damping=float(rng.uniform(*self.damping)),
            tilt_per_g=float(np.deg2rad(rng.uniform(*self.tilt_deg_per_g))),
        )


class ImpactRanges(Config):
    """Ranges of the shocks of foot contacts; see `impacts`. They were chosen on SP-SW-HAR's wrists (studies/world).

    Args:
        strength: factor on the share of a segment (`impacts.SHARES`), at most 100.
        hz: frequency of the ringing of the segment's soft parts, 1 to 60 Hz.
        damping: damping ratio, above 0 and below 1.
        radius_m: ratio of linear to angular speed of the shock, 0.05 m or more.
    """

    strength: Annotated[Log, _upto(100)] = (0.5, 2.0)
    hz: Annotated[tuple[Annotated[float, Field(ge=1, le=60)], Annotated[float, Field(ge=1, le=60)]], Rising] = (
        4.0,
        10.0,
    )
    damping: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=0, lt=1)]], Rising] = (
        0.15,
        0.4,
    )
    radius_m: Annotated[tuple[Annotated[float, Field(ge=0.05)], Annotated[float, Field(ge=0.05)]], Rising] = (0.1, 0.4)

    def draw(self, segment: str, rng: np.random.Generator) -> Impact:
        """One impact on a segment: strength and shape, and for either foot a direction mostly upwards."""
        strength, hz, radius = (
            float(np.exp(rng.uniform(*np.log(pair)))) for pair in (self.strength, self.hz, self.radius_m)
        )

        def unit(mean: tuple[float, float, float]) -> np.ndarray:
            vector = np.array(mean) + rng.normal(0, 0.4, 3)
            return np.asarray(vector / np.linalg.norm(vector))

        part = segment.removeprefix("left_").removeprefix("right_")
        return Impact(
            share=min(SHARES[part] * strength, 2.0),
            hz=hz,
            damping=float(rng.uniform(*self.damping)),
            radius=radius,
            directions={side: unit((0.0, 0.0, 1.0)) for side in SIDES},
            axes={side: unit((0.0, 1.0, 0.0)) for side in SIDES},
        )


class MotionRanges(Config):
    """Variation of captured takes; a simulated subject has habits of its own and is not varied.

    Args:
        tempo: factor on the speed of the motion, 0.1 to 10, drawn per take.
        size: factor on the size of the body and of its path, 0.1 to 10, drawn per take.
        mirror: probability that left and right are exchanged.
    """

    tempo: Annotated[tuple[_Factor, _Factor], Rising] = (0.85, 1.18)
    size: Annotated[tuple[_Factor, _Factor], Rising] = (0.92, 1.08)
    mirror: Annotated[float, Field(ge=0, le=1)] = 0.5

    def draw(self, rng: np.random.Generator) -> tuple[float, float, bool]:
        """Tempo, size, and whether the take is mirrored."""
        tempo, size = (float(np.exp(rng.uniform(*np.log(pair)))) for pair in (self.tempo, self.size))
        return tempo, size, bool(rng.random() < self.mirror)


class Randomise(Config):
    """Domain randomisation of a simulated dataset; an item that is null or false is off.

    Args:
        seed: of the draws, beside the seed of the dataset.
        mount: whether devices at the fixed placements lie anywhere in the `surface.REGIONS` of their name.
        regions: further regions by name, for placements of these names.
        device: ranges of the device ``random``.
        strap: ranges of soft tissue and straps.
        motion: variation of captured takes.
        impacts: shocks of foot contacts, off unless stated.

    Example:
        >>> Randomise(strap=None).device.rate_hz
        (20.0, 100.0)
    """

    seed: Seed = 0
    mount: bool = True
    regions: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Region] = {}
    device: DeviceRanges = DeviceRanges()
    strap: StrapRanges | None = StrapRanges()
    motion: MotionRanges | None = MotionRanges()
    impacts: ImpactRanges | None = None

    @model_serializer(mode="wrap")
    def _without_impacts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Folders that were built before impacts existed keep their digest.
        return {key: value for key, value in dump(self).items() if key != "impacts" or value is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class WornDevice:
    """One device as it is worn in one recording.

    Args:
        placement: name of its stream.
        mount: place and axes on the segment.
        profile: kind of device.
        out: (3,) unit vector away from the body, in device axes.
        strap: coupling to the segment, None for a rigid one.
        place: (height, azimuth in degrees, turn in degrees) on the surface, None at a fixed placement.
        attachment: how it is attached, empty at a fixed placement.
        impact: shocks of foot contacts, None for none.
        drawn: whether the profile was drawn.
    """

    placement: str
    mount: Mount
    profile: SensorProfile
    out: np.ndarray
    strap: Strap | None = None
    place: tuple[float, float, float] | None = None
    attachment: str = ""
    impact: Impact | None = None
    drawn: bool = False

    @property
    def note(self) -> str:
        """What was drawn, in words and numbers; empty if nothing was."""
        parts = []
        if self.place is not None:
            height, azimuth, turn = self.place
            parts.append(
                f"on {self.mount.segment}, height {height:.3f}, azimuth {azimuth:.1f} deg, turn {turn:.1f} deg, "
                f"{self.attachment}"
            )
        if self.strap is not None:
            parts.append(
                f"strap {self.strap.hz:.2f} Hz, damping {self.strap.damping:.3f}, "
                f"tilt {np.rad2deg(self.strap.tilt_per_g):.2f} deg per g"
            )
        if self.impact is not None:
            parts.append(
                f"impacts {self.impact.share:.3f} of the foot's speed, {self.impact.hz:.2f} Hz, damping "
                f"{self.impact.damping:.3f}, radius {self.impact.radius:.3f} m"
            )
        if self.drawn:
            p = self.profile
            parts.append(
                f"rate {p.rate_hz:.3f} Hz, ranges {p.acc_range / GRAVITY:.0f} g and {np.rad2deg(p.gyr_range):.0f} "
                f"deg/s, steps {p.acc_step:.3g} and {p.gyr_step:.3g}, noise {p.acc_noise:.3g} and {p.gyr_noise:.3g}, "
                f"bias {p.acc_bias:.3g} and {p.gyr_bias:.3g}, scale error {p.scale_error:.3g}, cross-axis "
                f"{p.cross_axis:.3g}, jitter {p.jitter:.3g}, drift {p.drift:.3g}, losses {p.losses_per_minute:.3g} per "
                f"minute, low-pass at {p.cut_off:.3g} of the rate"
            )
        return f"device {self.placement}: {'; '.join(parts)}" if parts else ""


def check_names(
    placements: list[str] | tuple[str, ...],
    devices: list[str] | tuple[str, ...],
    randomise: Randomise | None,
    *,
    dataset: str,
) -> None:
    """Check names of placements and devices.

    Raises:
        ConfigError: an unknown name, neither a fixed one nor one of a region.
    """
    own = randomise.regions if randomise else {}
    for name in placements:
        if name not in PLACEMENTS and region_of(name, own) is None:
            raise ConfigError(
                f"dataset {dataset!r}: unknown placement {name!r}{nearest(name, {**PLACEMENTS, **REGIONS, **own})}",
                hint="a fixed placement, or a region with or without a number: anywhere_1",
            )
    for name in devices:
        if name != RANDOM and name not in PROFILES:
            raise ConfigError(f"dataset {dataset!r}: unknown device {name!r}{nearest(name, {**PROFILES, RANDOM: 0})}")


def put_on(
    person: Person, placement: str, *, device: str, seed: int, name: str, randomise: Randomise | None = None
) -> WornDevice:
    """Draw one worn device: profile, place on the body, strap; a pure function of its arguments.

    Args:
        person: who wears it.
        placement: name in `sensors.PLACEMENTS` or of a region (`surface.region_of`).
        device: name in `sensors.PROFILES`, or ``random``.
        seed: the dataset's seed.
        name: of the recording's session.
        randomise: None for the fixed placements and rigid mounts; regions are drawn in any case.

    Raises:
        ConfigError: an unknown name.
    """
    subject = person.name
    habit = stream(seed, subject, "mount", placement, device)
    today = stream(seed, subject, name, "mount", placement, device)
    ranges = randomise or _NOTHING
    drawn = stream(seed, ranges.seed, subject, name, "randomise", placement)
    if device == RANDOM:
        profile = ranges.device.draw(stream(seed, ranges.seed, subject, name, "device", placement))
    else:
        profile = look_up(PROFILES, device, "device")
    shaken = stream(seed, ranges.seed, subject, name, "impacts", placement)
    region = region_of(placement, ranges.regions)
    if region is None or (placement in PLACEMENTS and placement not in ranges.regions and not ranges.mount):
        place = look_up(PLACEMENTS, placement, "placement")
        mount = draw_mount(person, placement, profile, habit, today)
        attachment = "pocket" if place.pocketed else "belt" if place.segment == "pelvis" else "strap"
        strap = ranges.strap.draw(attachment, drawn) if ranges.strap else None
        out = mount.axes.T @ np.array(place.out)
        return WornDevice(
            placement=placement,
            mount=mount,
            profile=profile,
            out=out,
            strap=strap,
            impact=ranges.impacts.draw(mount.segment, shaken) if ranges.impacts else None,
            drawn=device == RANDOM,
        )
    mount, out, where, attachment = _draw_on_surface(person, region, profile, habit, today, drawn)
    return WornDevice(
        placement=placement,
        mount=mount,
        profile=profile,
        out=out,
        strap=ranges.strap.draw(attachment, drawn) if ranges.strap else None,
        place=where,
        attachment=attachment,
        impact=ranges.impacts.draw(mount.segment, shaken) if ranges.impacts else None,
        drawn=device == RANDOM,
    )


_NOTHING = Randomise(mount=False, strap=None, motion=None)


def _draw_on_surface(
    person: Person,
    region: Region,
    profile: SensorProfile,
    habit: np.random.Generator,
    today: np.random.Generator,
    drawn: np.random.Generator,
) -> tuple[Mount, np.ndarray, tuple[float, float, float], str]:
    """A mount in a region: the place is drawn per recording, deviations of angle per person and per day."""
    segment = str(drawn.choice(region.segments)).replace(POCKET, f"{person.pocket}_thigh")
    height, azimuth, turn = (float(drawn.uniform(*r)) for r in (region.height, region.azimuth_deg, region.turn_deg))
    attachment = str(drawn.choice(region.attachment))
    if attachment == "pocket":
        turn += float(person.choose("pocket_turn", today))
    elif habit.random() < profile.flip:
        turn += 180.0
    turn = (turn + 180.0) % 360.0 - 180.0
    point = surface_point(person.body, segment, height, azimuth, girth=person["girth"])
    axes = point.axes @ about_z(np.deg2rad(turn))
    if attachment == "pocket" and person.choose("pocket_face", today) == "in":
        axes = axes @ np.diag([-1.0, 1.0, -1.0])
    tilt = (habit.normal(0, 1, 3) + today.normal(0, 1, 3)) * profile.mount
    axes = axes @ exponential(tilt[:, None])[:, :, 0] @ np.array(profile.axes).T
    mount = Mount(segment=segment, offset=point.offset, axes=axes, slack=profile.slack)
    return mount, axes.T @ point.axes[:, 2], (height, azimuth, turn), attachment
