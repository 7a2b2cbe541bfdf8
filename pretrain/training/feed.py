"""Training batches by step number; a thread prepares the next one. The loader decides which samples a batch holds."""

from __future__ import annotations

import concurrent.futures

from imu_video.shards.batches.loader import PairLoader
from imu_video.types import PairBatch


class Feed:
    """Batches by number; the next one is read by a thread while this one is trained on.

    Access by number keeps resuming a matter of arithmetic: a batch that was read ahead and never used changes nothing.

    Args:
        loader: anything with ``batch(number)``.
    """

    def __init__(self, loader: PairLoader) -> None:
        self.loader = loader
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, concurrent.futures.Future[PairBatch]] | None = None

    def get(self, number: int) -> PairBatch:
        """Global batch ``number`` (this rank's rows)."""
        if self._ahead is not None and self._ahead[0] == number:
            batch = self._ahead[1].result()
        else:
            # In the same thread, behind what is being read ahead: loader and decoders are used by one thread only.
            batch = self._thread.submit(self.loader.batch, number).result()
        self._ahead = (number + 1, self._thread.submit(self.loader.batch, number + 1))
        return batch

    def close(self) -> None:
        """End the thread."""
        # Waits for a batch that is being read: the clips that it reads are closed next.
        self._thread.shutdown(cancel_futures=True)
