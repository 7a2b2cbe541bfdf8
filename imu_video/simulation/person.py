"""Virtual persons: bodies and habits drawn from a seed, and populations; motion is in the activities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from imu_video.errors import ConfigError, nearest
from imu_video.simulation.body import Body


def stream(*parts: object) -> np.random.Generator:
    """A random generator as a pure function of its arguments, so that no draw depends on earlier ones.

    Example:
        >>> bool(stream(0, "p00").integers(100) == stream(0, "p00").integers(100))
        True
    """
    text = "/".join(str(p) for p in parts)
    return np.random.default_rng(np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32))


@dataclass(frozen=True)
class Trait:
    """A habit as a clipped normal distribution: mean, standard deviation, lowest and highest value."""

    mean: float
    sd: float
    low: float
    high: float


TRAITS: dict[str, Trait] = {
    # body
    "height": Trait(1.70, 0.095, 1.48, 1.97),  # m
    "legs": Trait(1.0, 0.025, 0.93, 1.07),
    "arms": Trait(1.0, 0.03, 0.92, 1.08),
    "breadth": Trait(1.0, 0.07, 0.85, 1.2),
    "girth": Trait(1.0, 0.13, 0.75, 1.4),
    # gait
    "walk_cadence": Trait(1.83, 0.13, 1.45, 2.2),  # steps/s
    "walk_step": Trait(0.41, 0.035, 0.3, 0.5),  # of stature
    "jog_cadence": Trait(2.62, 0.15, 2.25, 3.0),  # steps/s
    "jog_step": Trait(0.50, 0.07, 0.33, 0.66),  # of stature
    "up_cadence": Trait(1.55, 0.13, 1.2, 1.9),  # steps/s
    "down_cadence": Trait(1.78, 0.15, 1.35, 2.2),  # steps/s
    "stance": Trait(0.62, 0.014, 0.58, 0.66),  # of the stride
    "lift": Trait(1.0, 0.2, 0.55, 1.6),
    "bob": Trait(1.0, 0.22, 0.45, 1.6),
    "sway": Trait(1.0, 0.3, 0.3, 1.8),
    "impact": Trait(1.0, 0.35, 0.25, 2.0),
    "arm_swing": Trait(0.36, 0.14, 0.08, 0.8),  # rad
    "swing_difference": Trait(0.0, 0.25, -0.6, 0.6),
    "elbow_carry": Trait(0.30, 0.15, 0.05, 0.8),  # rad
    "step_width": Trait(0.085, 0.025, 0.03, 0.16),  # m
    "toe_out": Trait(0.13, 0.07, -0.05, 0.35),  # rad
    "lean": Trait(0.03, 0.035, -0.05, 0.14),  # rad
    "asymmetry": Trait(0.0, 0.012, -0.03, 0.03),  # of the stride
    # posture and temperament
    "slouch": Trait(0.22, 0.13, -0.05, 0.6),  # rad
    "recline": Trait(0.12, 0.13, -0.1, 0.5),  # rad
    "tempo": Trait(1.0, 0.12, 0.7, 1.35),
    "unsteadiness": Trait(1.0, 0.3, 0.4, 2.0),
    "restless": Trait(1.0, 0.45, 0.2, 2.4),
    "tremor": Trait(0.0, 0.0, 0.0, 0.0),  # rad
    "tremor_hz": Trait(5.0, 0.6, 3.8, 6.5),
    # hands
    "typing_hz": Trait(4.6, 1.1, 2.2, 7.5),
    "typing_size": Trait(1.0, 0.35, 0.4, 2.0),
    "sip_gap": Trait(3.0, 0.9, 1.4, 6.0),  # s
    "sip_hold": Trait(1.6, 0.5, 0.7, 3.0),  # s
    "brush_hz": Trait(3.9, 0.8, 2.2, 5.8),
    "brush_size": Trait(0.013, 0.004, 0.005, 0.025),  # m
    "vacuum_period": Trait(2.2, 0.5, 1.3, 3.6),  # s
    "vacuum_reach": Trait(0.30, 0.07, 0.14, 0.45),  # m
    "wave_hz": Trait(1.9, 0.4, 1.1, 3.0),
    "wave_size": Trait(0.42, 0.14, 0.15, 0.8),  # rad
    "clap_hz": Trait(2.8, 0.6, 1.5, 4.2),
    "clap_span": Trait(0.13, 0.045, 0.05, 0.26),  # m, each hand
    # exercise
    "squat_period": Trait(2.9, 0.5, 1.9, 4.2),  # s
    "squat_depth": Trait(0.42, 0.11, 0.2, 0.62),  # of leg length
    "jack_period": Trait(1.12, 0.15, 0.8, 1.55),  # s
    "jack_arms": Trait(2.55, 0.3, 1.7, 3.0),  # rad
    "jack_hop": Trait(0.06, 0.02, 0.02, 0.11),  # m
    "pedal_hz": Trait(1.2, 0.2, 0.75, 1.7),
    "ride_lean": Trait(0.55, 0.2, 0.15, 0.95),  # rad
}
"""Habits of the general population; dimensionless ones are factors around 1."""

STYLES: dict[str, dict[str, float]] = {
    "walk_arms": {"free": 9.0, "pocket": 0.9, "phone": 0.7, "bag": 0.9},
    "stand_arms": {"hang": 5.0, "folded": 1.0, "pocket": 1.2, "phone": 0.8, "hips": 0.6, "behind": 0.5},
    "sit_arms": {"lap": 4.0, "folded": 0.6, "phone": 1.0, "rests": 1.6, "clasped": 1.2},
    "sit_legs": {"flat": 3.5, "forward": 1.3, "tucked": 1.0, "crossed": 0.8},
    "lie": {"back": 5.0, "left": 0.8, "right": 0.8, "front": 0.3},
    "lie_arms": {"sides": 2.5, "belly": 2.0, "phone": 0.5, "head": 0.5},
    "drink_where": {"sit": 2.0, "stand": 1.0},
    "squat_arms": {"front": 2.0, "hips": 1.0, "chest": 1.0},
    "pocket_turn": {"0": 1.0, "90": 0.4, "180": 1.0, "270": 0.4},
    "pocket_face": {"out": 1.0, "in": 1.0},
}
"""Ways of doing things with the population's weights; each person prefers some of them."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """A population: factors and overrides of TRAITS, and an optional weaker side.

    Args:
        factors: trait name -> factor on mean and bounds.
        overrides: trait name -> its own distribution.
        weaker_side: whether one side swings less and steps shorter.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, Trait] = field(default_factory=dict)
    weaker_side: bool = False


POPULATIONS: dict[str, Population] = {
    "general": Population(),
    "slow_gait": Population(
        factors={
            "walk_cadence": 0.76,
            "walk_step": 0.62,
            "jog_cadence": 0.86,
            "jog_step": 0.6,
            "up_cadence": 0.68,
            "down_cadence": 0.64,
            "lift": 0.65,
            "bob": 0.6,
            "sway": 1.5,
            "impact": 0.7,
            "arm_swing": 0.5,
            "tempo": 0.82,
            "unsteadiness": 1.5,
            "typing_hz": 0.65,
            "sip_hold": 1.3,
            "brush_hz": 0.72,
            "vacuum_period": 1.35,
            "vacuum_reach": 0.75,
            "wave_hz": 0.75,
            "clap_hz": 0.72,
            "squat_period": 1.35,
            "squat_depth": 0.75,
            "jack_period": 1.3,
            "jack_arms": 0.75,
            "jack_hop": 0.45,
            "pedal_hz": 0.72,
        },
        overrides={
            "stance": Trait(0.68, 0.015, 0.65, 0.72),
            "asymmetry": Trait(0.06, 0.02, 0.03, 0.1),
            "lean": Trait(0.13, 0.05, 0.03, 0.26),
            "slouch": Trait(0.4, 0.13, 0.1, 0.75),
            "tremor": Trait(0.03, 0.018, 0.006, 0.08),
        },
        weaker_side=True,
    ),
}
"""Populations by name: ``general``, and ``slow_gait`` (slower, shorter and asymmetric steps, stooped, tremor)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """One virtual person.

    Args:
        name: subject.
        body: bone lengths.
        traits: one number per name in TRAITS.
        preferences: style name -> option -> weight.
        hand: ``left`` or ``right``, the dominant one.
        pocket: side of the pocket that holds the phone.
        weak: side that moves less, or None.
        look: colours by name, RGB in 0..1.
    """

    name: str
    body: Body
    traits: Mapping[str, float]
    preferences: Mapping[str, Mapping[str, float]]
    hand: str
    pocket: str
    weak: str | None
    look: Mapping[str, tuple[float, float, float]]

    def __getitem__(self, trait: str) -> float:
        return self.traits[trait]

    @property
    def other_hand(self) -> str:
        return "right" if self.hand == "left" else "left"

    def choose(self, style: str, rng: np.random.Generator) -> str:
        """Draw the person's style of an action in this session."""
        options = self.preferences[style]
        return str(rng.choice(list(options), p=np.array(list(options.values()))))

    def on_day(self, rng: np.random.Generator) -> Person:
        """The same person in another session: slightly faster or slower, stiffer or livelier."""
        traits = dict(self.traits)
        pace = float(np.exp(rng.normal(0, 0.03)))
        for name in TRAITS:
            wobble = float(np.exp(rng.normal(0, 0.04)))
            if name in _PACED:
                traits[name] *= pace * (1 + (wobble - 1) * 0.4)
            elif name not in _FIXED:
                traits[name] *= wobble
        return Person(**{**vars(self), "traits": traits})


_FIXED = {"height", "legs", "arms", "breadth", "girth", "stance", "asymmetry", "tremor_hz"}
_PACED = {"walk_cadence", "jog_cadence", "up_cadence", "down_cadence", "tempo"}

_SKIN = ((0.95, 0.78, 0.66), (0.87, 0.67, 0.53), (0.74, 0.53, 0.39), (0.55, 0.37, 0.26), (0.38, 0.25, 0.18))
_HAIR = ((0.12, 0.09, 0.07), (0.3, 0.19, 0.1), (0.55, 0.38, 0.2), (0.75, 0.6, 0.35), (0.62, 0.6, 0.58))


def draw_person(seed: int, name: str, population: str = "general") -> Person:
    """Draw a person; a pure function of its arguments.

    Args:
        seed: the world's seed.
        name: subject; another name gives another person.
        population: a name in POPULATIONS.

    Raises:
        ConfigError: unknown population.

    Example:
        >>> draw_person(0, "p00")["walk_cadence"] == draw_person(0, "p00")["walk_cadence"]
        True
    """
    if population not in POPULATIONS:
        raise ConfigError(f"unknown population {population!r}{nearest(population, POPULATIONS)}")
    chosen = POPULATIONS[population]
    rng = stream(seed, name, "person")
    traits = {}
    for trait_name, general in TRAITS.items():
        trait, factor = chosen.overrides.get(trait_name, general), chosen.factors.get(trait_name, 1.0)
        traits[trait_name] = factor * float(np.clip(rng.normal(trait.mean, trait.sd), trait.low, trait.high))
    preferences = {}
    for style, weights in STYLES.items():
        values = rng.gamma(np.array(list(weights.values())) * 0.5) + 1e-6
        preferences[style] = dict(zip(weights, (values / values.sum()).tolist(), strict=True))
    hand = "left" if rng.random() < 0.12 else "right"
    other = "right" if hand == "left" else "left"
    pocket = hand if rng.random() < 0.75 else other
    weak = str(rng.choice(["left", "right"])) if chosen.weaker_side else None
    look = {
        "skin": _pick(_SKIN, rng),
        "hair": _pick(_HAIR, rng),
        "shirt": _colour(rng, 0.25, 0.9),
        "trousers": _colour(rng, 0.12, 0.55),
        "shoes": _colour(rng, 0.1, 0.8),
    }
    if rng.random() < 0.5:
        look["sleeve"] = look["shirt"]  # long sleeves
    else:
        look["sleeve"] = look["skin"]
    body = Body(**{k: traits[k] for k in ("height", "legs", "arms", "breadth")})
    return Person(
        name=name,
        body=body,
        traits=traits,
        preferences=preferences,
        hand=hand,
        pocket=pocket,
        weak=weak,
        look=look,
    )


def _pick(options: Sequence[tuple[float, float, float]], rng: np.random.Generator) -> tuple[float, float, float]:
    r, g, b = np.clip(np.array(options[int(rng.integers(len(options)))]) + rng.normal(0, 0.02, 3), 0, 1).tolist()
    return r, g, b


def _colour(rng: np.random.Generator, dark: float, light: float) -> tuple[float, float, float]:
    value = rng.uniform(dark, light)
    tint = rng.uniform(-1, 1, 3)
    r, g, b = np.clip(value + 0.28 * (tint - tint.mean()), 0.03, 0.97).tolist()
    return r, g, b
