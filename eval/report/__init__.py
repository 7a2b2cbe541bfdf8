"""From result lines to a report, a section a module, as Markdown and one HTML page; measures no encoder anew."""

from __future__ import annotations

from eval.report.build import build_sections, read_log, write_report
from eval.report.calibration import calibration_table
from eval.report.fewshot import conclusions, difference_table, few_shot_table
from eval.report.plain import plain_table
from eval.report.terminal import terminal_tables

__all__ = [
    "build_sections",
    "calibration_table",
    "conclusions",
    "difference_table",
    "few_shot_table",
    "plain_table",
    "read_log",
    "terminal_tables",
    "write_report",
]
