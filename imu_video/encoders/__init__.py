"""IMU encoders: normalised windows (B, C, T) in, features (B, E) out; no projectors and no losses.

An encoder is an ``nn.Module`` with keyword-only constructor arguments and the integers ``channels`` and
``feature_dim``. ``forward(imu, mask)`` takes float (B, C, T) and bool (B, C, T), True where measured, and returns
(B, E); values under a False mask never change the output. An encoder with features over time also has ``token_dim``
and ``tokens(imu, mask)`` -> (B, S, token_dim), oldest first. A causal encoder may have ``stream(window=, hop=)``,
which computes the features of a stream of samples (`layers.streaming`). `imu_video.testing.check_encoder` checks all of
this.

The names below are imported at first use. The registry loads them all, which registers the built-in encoders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.encoders.channel_transformer import HaroodTransformer
    from imu_video.encoders.cnn import TPN, HaroodCNN
    from imu_video.encoders.cnn_gru import CNNGRU, PRIMUS
    from imu_video.encoders.cnn_transformer import CNNTransformer
    from imu_video.encoders.deep_conv_lstm import DeepConvLSTM
    from imu_video.encoders.fusion_actnet import FusionActNet
    from imu_video.encoders.harnet import Harnet
    from imu_video.encoders.hybrid import Hybrid
    from imu_video.encoders.mantis import Mantis
    from imu_video.encoders.micro_conv_lstm import MicroConvLSTM
    from imu_video.encoders.moment import MOMENT
    from imu_video.encoders.multi_device import MultiDevice
    from imu_video.encoders.patch_transformer import PatchTST
    from imu_video.encoders.patch_transformer_hf import PatchTSTHF
    from imu_video.encoders.resnet1d import ResNet1d
    from imu_video.encoders.segment_cnn import SegmentCNN
    from imu_video.encoders.spiking.l2mu import L2MU
    from imu_video.encoders.tcn import TCN

__all__ = [
    "CNNGRU",
    "L2MU",
    "MOMENT",
    "PRIMUS",
    "TCN",
    "TPN",
    "CNNTransformer",
    "DeepConvLSTM",
    "FusionActNet",
    "Harnet",
    "HaroodCNN",
    "HaroodTransformer",
    "Hybrid",
    "Mantis",
    "MicroConvLSTM",
    "MultiDevice",
    "PatchTST",
    "PatchTSTHF",
    "ResNet1d",
    "SegmentCNN",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "channel_transformer": ["HaroodTransformer"],
        "cnn": ["TPN", "HaroodCNN"],
        "cnn_gru": ["CNNGRU", "PRIMUS"],
        "cnn_transformer": ["CNNTransformer"],
        "deep_conv_lstm": ["DeepConvLSTM"],
        "fusion_actnet": ["FusionActNet"],
        "harnet": ["Harnet"],
        "hybrid": ["Hybrid"],
        "mantis": ["Mantis"],
        "micro_conv_lstm": ["MicroConvLSTM"],
        "moment": ["MOMENT"],
        "multi_device": ["MultiDevice"],
        "patch_transformer": ["PatchTST"],
        "patch_transformer_hf": ["PatchTSTHF"],
        "resnet1d": ["ResNet1d"],
        "segment_cnn": ["SegmentCNN"],
        "spiking.l2mu": ["L2MU"],
        "tcn": ["TCN"],
    },
)
