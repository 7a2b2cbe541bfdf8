"""Result lines: their format, storage and intervals.

The names below are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from eval.results.counts import Counts, load_bins, load_counts, save_counts
    from eval.results.intervals import Intervals
    from eval.results.lines import Result, provenance
    from eval.results.store import append_results, read_results

__all__ = [
    "Counts",
    "Intervals",
    "Result",
    "append_results",
    "load_bins",
    "load_counts",
    "provenance",
    "read_results",
    "save_counts",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "counts": ["Counts", "load_bins", "load_counts", "save_counts"],
        "intervals": ["Intervals"],
        "lines": ["Result", "provenance"],
        "store": ["append_results", "read_results"],
    },
)
