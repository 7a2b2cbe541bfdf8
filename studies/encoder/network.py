"""The network of a hybrid encoder as an encoder of its own; trains nothing.

python -P studies/encoder/network.py ENCODER OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imu_video import load_encoder
from imu_video.bundle.encoder import EncoderBundle
from imu_video.encoders.hybrid import Hybrid
from imu_video.errors import ConfigError
from imu_video.runtime import console


def main(encoder: Annotated[Path, typer.Argument()], out: Annotated[Path, typer.Argument()]) -> None:
    """Save the network of a hybrid encoder with the lineage of the whole."""
    whole = load_encoder(encoder)
    if not isinstance(whole.encoder, Hybrid):
        raise ConfigError(f"{encoder} is an encoder {whole.encoder_config['name']!r}, expected a hybrid")
    part = EncoderBundle(spec=whole.spec, encoder=whole.encoder_config["network"])
    part.encoder.load_state_dict(whole.encoder.network.state_dict())
    part.eval().save(out, lineage=whole.lineage)
    console.say(f"{out}: network of {encoder}, {part.feature_dim} features")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    console.run(app)
