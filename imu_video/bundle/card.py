"""Model card of an exported encoder, rendered from its config.json; missing facts are reported as missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from imu_video.runtime.text import code, code_block, markdown, plain
from imu_video.types import IMU_CHANNELS

_USAGE = """\
import numpy as np
from imu_video import load_encoder

encoder = load_encoder("{source}")
# (N, C, T): {channels}
# {units}, NaN = missing; {accepted}
windows = np.load("windows.npy")
features = encoder.encode(windows, rate_hz={rate:g})  # (N, {features}) float32
"""

_CONTROL = """\
**Not for use: a control ({control}).** In pretraining, every IMU window was paired with the teacher features
of another window. A score that this encoder reaches does not depend on correct pairs."""

_PLUGINS = """\
Components of the training run that do not belong to imu-video, with the first 16 digits of the sha256 of their code.
If the encoder is among them, loading it requires its plugin (`--plugin FILE.py`, or `imu_video.load_plugin`)."""
_EVALUATION = "Results on data outside the training mixture, with subjects, intervals and commands:"
_LIMITS = (
    "Features reflect the subjects, placements, devices and activities of the training data; evaluate them before use "
    "on other data (`imu-eval fewshot`).",
    "Windows in other units, or with gravity removed where it was included, are out of its domain.",
    "Stored features and fitted heads belong to these weights (sha256 below): compute and fit them again for other "
    "weights, also for a later version of the same name.",
    "Not a medical device. Movement data can identify a person: handle features as personal data.",
)
_CODE = re.compile(r"code \((.*)\)", re.DOTALL)
"""Keys of such components in the config of the lineage."""


def render(config: Mapping[str, Any], *, name: str | None = None, summary: str = "") -> str:
    """Markdown of an encoder's config: architecture, input specification, use, lineage, licences, limits.

    Args:
        config: content of ``config.json`` as `EncoderBundle.save` writes it. A list ``sources`` in its lineage, of
            mappings with ``name``, ``licence`` and ``url``, is shown as a table of its own, an address
            ``evaluation`` as a section, and a list ``limits`` of sentences among the limits.
        name: of a shipped encoder: title of the card, and what the example of use loads. None: a folder.
        summary: one sentence about a shipped encoder.

    Example:
        ``Path("encoder/README.md").write_text(render(read_config("encoder")))``
    """
    spec, encoder, lineage = config["input"], config["encoder"], _counted(config["lineage"])
    licences = lineage.pop("licences", None)
    sources = _sources(lineage)
    evaluation, limits = lineage.pop("evaluation", None), _texts(lineage, "limits")
    arguments = {k: v for k, v in encoder.items() if k != "name"}
    front = {
        "library_name": "imu-video",
        "tags": ["imu", "accelerometer", "gyroscope", "wearables", "feature-extraction"],
    }
    control = lineage.get("control")
    plugins = _plugins(lineage)
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# IMU encoder {code(name or encoder['name'])}",
        *([markdown(summary)] if summary else []),
        f"Turns a window of {_measured(spec)} into {config['feature_dim']} features "
        f"(architecture {code(encoder['name'])}, {config['parameters']:,} parameters). "
        f"Exported by imu-video {markdown(config['versions']['imu-video'])} "
        f"(torch {markdown(config['versions']['torch'])}).",
        *([_CONTROL.format(control=code(control))] if control else []),
        "## Input",
        f"{spec['rate_hz']:g} Hz, trained on windows of {spec['window_s']:g} s, gravity {markdown(spec['gravity'])}. "
        f"{_accepted(spec)}Normalised value = (value - mean) / std.",
        _table(
            ("channel", "unit", "mean", "std"),
            [
                (c, spec["units"][c], f"{m:.6g}", f"{s:.6g}")
                for c, m, s in zip(spec["channels"], spec["mean"], spec["std"], strict=True)
            ],
        ),
        "## Use",
        code_block(
            _USAGE.format(
                channels=" ".join(map(plain, spec["channels"])),
                units=" and ".join(dict.fromkeys(plain(spec["units"][c]) for c in spec["channels"])),
                source=name or "path/to/this/folder",
                accepted=_accepted_briefly(spec),
                rate=spec["rate_hz"],
                features=config["feature_dim"],
            ),
            "python",
        ),
        *(["## Text head", _text_head(config["text"])] if "text" in config else []),
        *(["## Plugins", _PLUGINS, _table(("component", "sha256 of its code"), plugins)] if plugins else []),
        *(["## Evaluation", f"{_EVALUATION} {markdown(_text(evaluation))}"] if evaluation else []),
        *(["## Sources", _table(("training data", "licence", "address"), sources)] if sources else []),
        "## Licences",
        _licences(licences),
        "## Limits",
        "\n".join(f"- {line}" for line in [*map(markdown, limits), *_LIMITS]),
        "## Encoder arguments",
        _table(("argument", "value"), list(_flatten(arguments))),
        "## Lineage",  # last, because it is the longest section
        _table(("fact", "value"), list(_flatten(lineage))) if lineage else "No lineage was recorded at export.",
        f"Weights sha256: {code(config['weights_sha256'])}",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _text_head(section: Mapping[str, Any]) -> str:
    """Section of the text head: its names, its training activities, and an example."""
    seen = [*section["seen"]]
    return (
        "Aligned with sentences about activities: activities are recognised by their names, without labelled windows "
        f'(`encoder.text_scores(windows, ["walking", "sitting"], rate_hz=50)`, or `imu-video predict ENCODER '
        f"RECORDING --text walking --text sitting`). {len(section['activities'])} names are stored; other names need "
        f"the text encoder {code(str(section['encoder'].get('name')))} (fingerprint {code(section['fingerprint'])}). "
        f"Activities of the training windows: {markdown(', '.join(seen)) or 'none by name'}.{_calibration(section)}"
    )


def _calibration(section: Mapping[str, Any]) -> str:
    """What the probabilities of a text head are calibrated on, as a sentence; empty without a calibration."""
    found = section.get("calibration")
    if not found:
        return ""
    names = ", ".join(f"{one['dataset']} ({one['subjects']} subjects)" for one in found["data"])
    return (
        f" Probabilities are calibrated on validation subjects of {markdown(names)}: expected calibration error "
        f"{found['ece']:.3f} on subjects left out, {found['ece_before']:.3f} before."
    )


def _measured(spec: Mapping[str, Any]) -> str:
    """What the windows of an encoder contain, in words."""
    if set(spec["channels"]) <= set(IMU_CHANNELS):
        return "accelerometer and gyroscope data"
    return f"{len(spec['channels'])} channels of sensor data"


def _accepted(spec: Mapping[str, Any]) -> str:
    """Rates and lengths that an encoder was trained for, as a sentence; empty if they are not stated."""
    accepts = spec.get("accepts")
    if not accepts:
        return ""
    return (
        f"Accepts {accepts['min_rate_hz']:g} Hz and more (resampled), any subset of the channels, windows of "
        f"{accepts['min_window_s']:g} to {accepts['max_window_s']:g} s, and several devices worn at "
        "once (the mean of their features). "
    )


def _accepted_briefly(spec: Mapping[str, Any]) -> str:
    """The same for a comment in code."""
    accepts = spec.get("accepts")
    if not accepts:
        return "other rates are resampled"
    return (
        f"{accepts['min_rate_hz']:g} Hz and more, {accepts['min_window_s']:g} to {accepts['max_window_s']:g} s; "
        "fewer channels: channels=[...]"
    )


def _counted(value: Any) -> Any:
    """Facts with numbers of subjects in place of their names, which only config.json contains."""
    if not isinstance(value, Mapping):
        return value
    return {key: _numbers(item) if key == "subjects" else _counted(item) for key, item in value.items()}


def _plugins(lineage: dict[str, Any]) -> list[tuple[str, str]]:
    """Take the hashes of the code of plugins out of a lineage: component and hash, sorted."""
    config = lineage.get("config")
    if not isinstance(config, Mapping):
        return []
    named = {key: found[1] for key in config if (found := _CODE.fullmatch(str(key)))}
    lineage["config"] = {key: value for key, value in config.items() if key not in named}
    return sorted((name, _text(config[key])) for key, name in named.items())


def _sources(lineage: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Take the sources of the training data out of a lineage; anything of another form stays there."""
    found = lineage.get("sources")
    if not isinstance(found, list) or not all(isinstance(one, Mapping) and "name" in one for one in found):
        return []
    del lineage["sources"]
    return [(_text(one["name"]), _text(one.get("licence")), _text(one.get("url"))) for one in found]


def _texts(lineage: dict[str, Any], key: str) -> list[str]:
    """Take a list of texts out of a lineage; anything of another form stays there."""
    found = lineage.get(key)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return []
    del lineage[key]
    return found


def _numbers(subjects: Any) -> Any:
    if isinstance(subjects, Mapping):
        return {split: _numbers(names) for split, names in subjects.items()}
    return len(subjects) if isinstance(subjects, Sequence) and not isinstance(subjects, str) else "not listed here"


def _licences(licences: Any) -> str:
    if not licences:
        return "No licences were recorded at export; ask the authors before redistributing it."
    if isinstance(licences, Mapping):
        return _table(("part", "licence"), list(_flatten(licences)))
    return markdown(_text(licences))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{name}.")
        else:
            yield name, _text(item)


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(v) for v in value) or "none"
    return "none" if value is None else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(markdown, cells))} |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)])
