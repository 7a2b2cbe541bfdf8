"""Names that files give to units of motion, as the units of `convert`; no conversion of values."""

from __future__ import annotations

_NAMES: dict[str, dict[str, tuple[str, float]]] = {
    "acc": {
        "g": ("g", 1.0),
        "gn": ("g", 1.0),
        "g-force": ("g", 1.0),
        "mg": ("mg", 1.0),
        "m/s^2": ("m/s^2", 1.0),
        "m/s2": ("m/s^2", 1.0),
        "m/s/s": ("m/s^2", 1.0),
        "m.s^-2": ("m/s^2", 1.0),
        "ms^-2": ("m/s^2", 1.0),
        "ms-2": ("m/s^2", 1.0),
        "m*s^-2": ("m/s^2", 1.0),
        "mm/s^2": ("m/s^2", 1e-3),
        "mm/s2": ("m/s^2", 1e-3),
        "mm/s/s": ("m/s^2", 1e-3),
    },
    "gyr": {
        "rad/s": ("rad/s", 1.0),
        "rad.s^-1": ("rad/s", 1.0),
        "rads^-1": ("rad/s", 1.0),
        "deg/s": ("deg/s", 1.0),
        "deg/sec": ("deg/s", 1.0),
        "degree/s": ("deg/s", 1.0),
        "degrees/s": ("deg/s", 1.0),
        "dps": ("deg/s", 1.0),
    },
    "mag": {
        "ut": ("uT", 1.0),
        "t": ("uT", 1e6),
        "mt": ("uT", 1e3),
        "nt": ("uT", 1e-3),
        "mgauss": ("uT", 0.1),
        "gauss": ("uT", 100.0),
    },
}
_LIKE = {"²": "^2", "⁻": "-", "¹": "^1", "**": "^", "°": "deg", "µ": "u", "μ": "u", "·": ".", " ": ""}


def unit_named(text: str, kind: str) -> tuple[str, float] | None:
    """The unit of a track that a file writes in its own way, and the factor of its values; None if it is unknown.

    Args:
        text: as in the file.
        kind: ``acc``, ``gyr`` or ``mag``.

    Example:
        >>> unit_named("mm/s²", "acc"), unit_named("°/s", "gyr"), unit_named("V", "acc")
        (('m/s^2', 0.001), ('deg/s', 1.0), None)
    """
    plain = text.strip()
    for written, like in _LIKE.items():
        plain = plain.replace(written, like)
    return _NAMES[kind].get(plain.replace("-^", "^-").lower())
