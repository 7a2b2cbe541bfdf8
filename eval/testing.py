"""Contract checks for your own probes and protocols; those of library components are in imu_video.testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.probes.base import Fitted, Probe
from eval.protocol import Protocol, protocols
from eval.report.document import Section, to_html, to_markdown
from eval.results.lines import Result


def check_probe(probe: Probe, *, features: int = 24, classes: int = 4, shots: int = 5) -> None:
    """Check the contract of a probe; raises AssertionError naming the violation.

    A probe is deterministic, does not modify its inputs, gives finite scores (N, M), separates separable classes,
    treats classes alike (permuting the class numbers permutes the scores), scores each window independently, and works
    with one shot and with dimensions that are constant in the support.

    Args:
        probe: the probe under test.
        features: E of the synthetic features, at least 4.
        classes: M, at least 3.
        shots: S, at least 2.

    Example:
        >>> from eval.probes import PrototypeProbe
        >>> check_probe(PrototypeProbe())
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, features)) * 3
    labels = np.repeat(np.arange(classes), shots)
    support = (centres[labels] + rng.normal(size=(len(labels), features)) * 0.3).astype(np.float32)
    truth = np.tile(np.arange(classes), 25)
    query = (centres[truth] + rng.normal(size=(len(truth), features)) * 0.3).astype(np.float32)

    before = support.copy(), labels.copy(), query.copy()
    scores = _scores(probe.fit(support, labels, classes=classes), query, classes)
    for old, new in zip(before, (support, labels, query), strict=True):
        assert np.array_equal(np.asarray(old), np.asarray(new)), "the probe changed its inputs"
    assert (scores.argmax(axis=1) == truth).mean() > 0.99, "classes ten deviations apart are not told apart"
    again = _scores(probe.fit(support, labels, classes=classes), query, classes)
    assert np.array_equal(scores, again), "the same support gives another probe: take no global random state"

    shuffled = rng.permutation(len(labels))
    reordered = _scores(probe.fit(support[shuffled], labels[shuffled], classes=classes), query, classes)
    assert np.allclose(scores, reordered, atol=1e-3), "the order of the support changes the scores"
    renamed = np.roll(np.arange(classes), 1)
    permuted = _scores(probe.fit(support, renamed[labels], classes=classes), query, classes)
    assert np.allclose(scores, permuted[:, renamed], atol=1e-3), "renumbering the classes changes the scores"

    fitted = probe.fit(support, labels, classes=classes)
    alone = np.concatenate([_scores(fitted, row[None], classes) for row in query[:10]])
    assert np.allclose(alone, scores[:10], atol=1e-3), "a window's score depends on the other windows"

    one = np.arange(0, len(labels), shots)
    single = _scores(probe.fit(support[one], labels[one], classes=classes), query, classes)
    assert (single.argmax(axis=1) == truth).mean() > 0.9, "one shot of well separated classes fails"

    constant = support.copy()
    constant[:, :2] = 7.0
    drifting = query.copy()
    drifting[:, :2] = 1e3
    kept = _scores(probe.fit(constant, labels, classes=classes), drifting, classes)
    assert (kept.argmax(axis=1) == truth).mean() > 0.9, "a dimension that is constant in the support decides"


def check_protocol(protocol: type[Protocol], results: Sequence[Result]) -> None:
    """Check the contract of a registered protocol; raises AssertionError naming the violation.

    Its ``name`` is the registered one and the kind of its lines, its docstring describes it, lines are distinct by
    their identity, tables have as many cells as columns, and tables, sections and conclusions can be rendered.

    Args:
        protocol: the class.
        results: lines from its ``run``, at least one.
    """
    name = protocol.name
    assert name in protocols.names(), f"protocol {name!r} is not registered"
    assert protocols.get(name) is protocol, f"protocol {name!r} is another class: register it under its `name`"
    assert (protocol.__doc__ or "").strip(), "the docstring is the help text of the command; it must not be empty"
    assert results, "check_protocol needs the lines of a run"
    for line in results:
        assert line.protocol == name, f"a line has kind {line.kind!r}, expected {name!r} or '{name}-difference'"
    identities = [line.identity for line in results]
    assert len(set(identities)) == len(identities), "two lines have one identity; name what differs in `variants`"
    tables = protocol.tables(results)
    for table in tables:
        wrong = [row for row in table.rows if len(row) != len(table.columns)]
        assert not wrong, f"a row of {table.caption!r} has {len(wrong[0])} cells for {len(table.columns)} columns"
    sections = [*protocol.sections(results), Section("Tables", [*tables])]
    assert to_markdown("check", sections)
    assert to_html("check", sections)
    assert all(isinstance(sentence, str) for sentence in protocol.conclusions(results)), "conclusions are sentences"
    assert protocol.scope(results[0]).title, "a scope has a title"


def _scores(fitted: Fitted, query: np.ndarray, classes: int) -> np.ndarray:
    assert isinstance(fitted, Fitted), "fit must return an object with scores(features)"
    scores = np.asarray(fitted.scores(query))
    assert scores.shape == (len(query), classes), f"scores have shape {scores.shape}, expected {(len(query), classes)}"
    assert np.isfinite(scores).all(), "scores are not finite"
    return scores
