"""Tables and sections of zero-shot, one section per form, since forms are different claims; measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.calibration import calibration_sections, calibration_table
from eval.report.document import Section, Table, Text
from eval.report.rows import confusions, figure_table, wide_table
from eval.report.words import figure, unique
from eval.results.lines import CALIBRATION, Result

TITLES = {
    "video": "Zero-shot from video",
    "source": "Zero-shot by source labels",
    "teacher": "Zero-shot by teacher labels",
    "text": "Zero-shot by text",
}
"""Titles of the four forms; a form that is not named here has a section of its own as well."""
NOTES = {
    "video": "Prototypes are mean video embeddings of subjects that are not queries; no labelled IMU window is used. "
    "The row `teacher` classifies the queries' own videos: an upper bound for these prototypes.",
    "source": "Probes are fitted on labelled IMU windows of another data folder; no label of these data is used. "
    "Labels without a common name in both folders are left out and counted in the result lines.",
    "teacher": "Probes are fitted on labelled video embeddings of subjects that are not queries and applied to IMU "
    "embeddings; no IMU label is used. The row `teacher` applies the same probe to the queries' own videos.",
    "text": "Classes are prompts. `text head`: the encoder was aligned with sentences in pretraining, on other data; "
    "no label of these data is used. `text tower`: the teacher's own text encoder, and the row `teacher` classifies "
    "the queries' own videos. `sentence map`: a ridge map fitted on the IMU labels of other classes, which are never "
    "queries.",
}
_COLUMNS = ("labels from", "probe")


def form_of(line: Result) -> str:
    """The form of a line: ``video``, ``source``, ``teacher``, ``text``."""
    return str(line.details.get("form", "video"))


def title_of(form: str) -> str:
    """Title of a form."""
    return TITLES.get(form, f"Zero-shot by {form}")


def _labels_from(line: Result) -> str:
    return str(line.details.get("labels_from", form_of(line)))


def run_tables(results: Sequence[Result]) -> list[Table]:
    """Figures of one form, and calibration where scores are probabilities."""
    figures = figure_table(results, caption=title_of(form_of(results[0])), last=("classes", "classes"))
    return [figures, calibration_table(results, columns=_COLUMNS, second=_labels_from)]


def zeroshot_sections(results: Sequence[Result]) -> list[Section]:
    """A section for every measured form, then calibration."""
    figures = [r for r in results if r.metric not in CALIBRATION]
    out = []
    for form in unique([*TITLES, *map(form_of, figures)]):
        own = [r for r in figures if form_of(r) == form]
        if own:
            note = [Text(NOTES[form])] if form in NOTES else []
            table = wide_table(own, last="labels from")
            out.append(Section(title_of(form), [table, *note, *confusions(own)]))
    title = "Calibration, zero-shot"
    return out + calibration_sections(results, title=title, columns=_COLUMNS, second=_labels_from)


def conclusions(results: Sequence[Result]) -> list[str]:
    """One sentence per domain, form and probe of the pretrained encoder: the figure, and whether it is above chance.

    Comparisons with chance use single intervals; several of them are named exploratory.
    """
    out = []
    for r in results:
        if r.metric != "balanced_accuracy" or r.model != "pretrained":
            continue
        form = form_of(r)
        verdict = "above" if (r.low or 0) > (r.chance or 0) else "not clearly above"
        by = "" if form == "video" else f" ({r.probe}; {r.details.get('labels_from')})"
        where = f"{title_of(form)} in {r.domain}{by}"
        out.append(f"{where}: balanced accuracy {figure(r)}, {verdict} chance ({r.chance or 0:.2f}).")
    if len(out) > 1:
        out.append(f"These {len(out)} comparisons with chance use single intervals, without correction: exploratory.")
    return out
