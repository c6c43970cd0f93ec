"""A worker that crashes or hangs in a case is a finding, and the run goes on behind that case."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fuzz import supervisor
from fuzz.supervisor import Lane, Totals

WORKER = """
import json, os, sys, time
order = json.loads(sys.argv[1])
for name in order["readers"]:
    number = order["first_of"].get(name, order["first"])
    while number < order["first"] + order["count"]:
        path = os.path.join(order["scratch"], "case")
        open(path, "w").write(f"{name} {number}")
        status = {"reader": name, "number": number, "file": "case", "seed": 0, "path": path}
        open(order["status"], "w").write(json.dumps(status))
        if (name, number) == ("b", 1):
            HARM
        with open(order["report"], "a") as report:
            report.write(json.dumps({"reader": name, "counts": {"refused": 1}}) + "\\n")
        number += 1
"""


@pytest.mark.parametrize(
    ("harm", "kind", "code"), [("os.abort()", "crash", -6), ("time.sleep(60)", "hangs", -9)]
)
def test_a_run_goes_on_behind_a_case_that_ends_its_worker(tmp_path, monkeypatch, harm, kind, code):
    monkeypatch.setattr(supervisor, "HANGS_AFTER_S", 2)
    script = tmp_path / "worker.py"
    script.write_text(WORKER.replace("HARM", harm))
    order = {
        "readers": ["a", "b", "c"], "first": 0, "count": 3, "seconds": 60,
        "findings": str(tmp_path / "findings"),
    }  # fmt: skip
    totals = Totals()
    Lane("plain", order, tmp_path / "scratch", totals, (sys.executable, str(script))).run()
    assert {reader: totals.cases(reader=reader) for reader in "abc"} == {"a": 3, "b": 3, "c": 3}
    ((reader, finding),) = totals.findings
    assert (reader, finding["kind"], finding["place"]) == ("b", kind, f"exit code {code}")
    assert Path(finding["kept"]).read_text() == "b 1"
