"""DeepConvLSTM: convolutions over time for each channel alone, then recurrent layers over all channels; no head."""

from __future__ import annotations

from torch import Tensor, nn

from imu_video.arguments import BelowOne, Count
from imu_video.encoders.cnn import needed_length
from imu_video.encoders.layers.convolutional import TimeEncoder
from imu_video.encoders.layers.pooling import Pooling
from imu_video.registry import encoders


@encoders.register("deep_conv_lstm")
class DeepConvLSTM(TimeEncoder):
    """Four convolutions over time, shared by the channels, and two LSTM layers (Ordóñez and Roggen 2016).

    DeepConvLSTM (Sensors 16(1), 115). A convolution has ``width`` filters of ``kernel`` samples (valid) and ReLU; each
    channel passes through the same filters, and no channel sees another one until the first LSTM layer, whose input at
    a time step is the ``width`` * C values of all channels.

    Args:
        channels: C.
        width: filters of every convolution; 64.
        kernel: samples per convolution; 5.
        convolutions: number of convolutions; 4.
        hidden: width of the LSTM layers; 128.
        layers: LSTM layers; 2.
        dropout: in [0, 1), of the input of every LSTM layer; 0.5. Non-zero values use torch's global generator,
            separately per rank.
        pooling: ``last`` state as published, or ``mean``, ``max``, ``mean_max`` of the states.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, hidden) as published; tokens are the states (B, T - 16, hidden). Shorter windows are padded
        to 17 samples.

    Example:
        >>> import torch
        >>> model = DeepConvLSTM(channels=9, width=8, hidden=16)
        >>> model.feature_dim, model.tokens(torch.zeros(2, 9, 24)).shape
        (16, torch.Size([2, 8, 16]))
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Count = 64,
        kernel: Count = 5,
        convolutions: Count = 4,
        hidden: Count = 128,
        layers: Count = 2,
        dropout: BelowOne = 0.5,
        pooling: Pooling = "last",
        segments: Count = 1,
    ) -> None:
        super().__init__(
            channels=channels,
            token_dim=hidden,
            least=needed_length(1, kernels=(kernel,) * convolutions),
            pooling=pooling,
            segments=segments,
        )
        parts: list[nn.Module] = []
        for number in range(convolutions):
            parts += [nn.Conv1d(width if number else 1, width, kernel), nn.ReLU()]
        self.convolutions = nn.Sequential(*parts)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width * channels, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        # The last state of an untrained network has forgotten all but the newest samples. A missing channel that
        # differs from zeros in all samples still reaches it.
        nn.init.normal_(self.missing, std=0.02)

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        batch, channels, _ = x.shape
        h = self.convolutions(x.flatten(0, 1)[:, None])  # (B * C, width, S)
        h = h.unflatten(0, (batch, channels)).permute(0, 3, 2, 1).flatten(2)  # (B, S, width * C)
        states: Tensor = self.lstm(self.dropout(h))[0]
        return states.transpose(1, 2)
