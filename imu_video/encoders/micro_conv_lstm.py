"""A student for microcontrollers: two pooled convolutions and a small bidirectional LSTM, about 11,000 parameters."""

from __future__ import annotations

from torch import Tensor, nn

from imu_video.arguments import Count, OddCount
from imu_video.encoders.layers.convolutional import Norm, TimeEncoder, norm_layer
from imu_video.encoders.layers.pooling import Pooling
from imu_video.registry import encoders


@encoders.register("micro_conv_lstm")
class MicroConvLSTM(TimeEncoder):
    """Two convolutions with norm, ReLU and max pooling, then a bidirectional LSTM; of the size of MicroBi-ConvLSTM.

    Our own sizes in the class of that network (11,400 parameters, 23 kB in int8), whose layers are not published in
    detail: 10,974 parameters for six channels and 11,217 for nine. A norm that uses the batch becomes a part of the
    convolution in an export.

    Args:
        channels: C.
        width: channels of the first convolution; the second has one and a half times as many.
        hidden: width of each direction of the LSTM; 22.
        kernel: samples per convolution, odd; 5.
        pool: steps of each max pooling; 2.
        norm: ``batch`` (its statistics are per rank), or ``group``.
        pooling: ``mean``, ``max``, ``mean_max`` or ``last`` of the states of both directions.
        segments: parts of equal length that are pooled separately; 1.

    Shapes: (B, C, T) -> (B, 2 * hidden); tokens (B, T // 4, 2 * hidden). Windows of fewer than 4 samples are padded.

    Example:
        >>> model = MicroConvLSTM()
        >>> sum(p.numel() for p in model.parameters()), model.feature_dim
        (10974, 44)
    """

    def __init__(
        self,
        *,
        channels: Count = 6,
        width: Count = 16,
        hidden: Count = 22,
        kernel: OddCount = 5,
        pool: Count = 2,
        norm: Norm = "batch",
        pooling: Pooling = "mean",
        segments: Count = 1,
    ) -> None:
        super().__init__(channels=channels, token_dim=2 * hidden, least=pool * pool, pooling=pooling, segments=segments)
        second = width + width // 2
        self.layers = nn.Sequential(
            nn.Conv1d(channels, width, kernel, padding=kernel // 2), norm_layer(norm, width), nn.ReLU(),
            nn.MaxPool1d(pool),
            nn.Conv1d(width, second, kernel, padding=kernel // 2), norm_layer(norm, second), nn.ReLU(),
            nn.MaxPool1d(pool),
        )  # fmt: skip
        self.lstm = nn.LSTM(second, hidden, batch_first=True, bidirectional=True)

    def over_time(self, x: Tensor, valid: Tensor) -> Tensor:
        states: Tensor = self.lstm(self.layers(x).transpose(1, 2))[0]
        return states.transpose(1, 2)
