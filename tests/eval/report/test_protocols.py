"""Every built-in protocol fulfils the contract on lines that it measured, and its shipped config is its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from eval.protocol import protocols
from eval.results.lines import Result
from eval.results.store import read_results
from eval.testing import check_protocol


@pytest.mark.parametrize("name", ["fewshot", "labels", "ood", "zeroshot"])
def test_built_in_protocols_fulfil_the_contract(name: str, made: Any) -> None:
    results, _ = read_results([made.results])
    check_protocol(protocols.get(name), [r for r in results if r.protocol == name])


def test_a_result_belongs_to_a_registered_protocol() -> None:
    fields = {"metric": "accuracy", "value": 0.5, "model": "m", "domain": "d", "subjects": 1, "episodes": 1}
    assert Result.model_validate({"kind": "fewshot-difference", **fields}).is_difference
    with pytest.raises(ValueError, match="kind 'fewshoot' belongs to no registered protocol; did you mean 'fewshot'"):
        Result.model_validate({"kind": "fewshoot", **fields})


def test_the_command_line_loads_no_torch_before_it_runs() -> None:
    code = "import sys; from eval.cli import protocols; protocols.names(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
