"""What a report suggests can be compiled from Python as from a shell."""

from __future__ import annotations

import qac_deploy as qd
from deploy.design.arguments import compile_command
from deploy.design.compilation import CompileOptions
from qac_deploy.suggestions import suggestion_of


def test_every_option_becomes_a_keyword():
    options = CompileOptions(
        target="chips/own.yaml", array="other", data="digits", alignment="truncate", weight_bits=4,
        alignments={"a=b": "average"}, slots=3, slots_of={"a->b": 4, "b->c": 5}, uniform_timesteps=2,
        timesteps={"join": 1}, replicate={"wide": 2}, tile_work={"wide": 900}, exchange_cores=True,
        thresholds=7, max_timesteps=8, optimize="stalls", interval=2, accuracy_budget=0.5, samples=4,
        unrolling=[16, 4, 2, 8], lowering="plain",
    )  # fmt: skip
    command = compile_command("my model.pt", options, accuracy="m.py:f")
    record = {"change": "", "command": command, "keeps_integers": True, "gives": {}}
    assert suggestion_of(record)["keywords"] == {
        "target": "chips/own.yaml", "array": "other", "data": "digits", "alignment": "truncate",
        "weight_bits": 4, "align": {"a=b": "average"}, "slots": {"*": 3, "a->b": 4, "b->c": 5},
        "timesteps": {"*": 2, "join": 1}, "replicate": {"wide": 2}, "tile_work": {"wide": 900},
        "exchange_cores": True, "thresholds": 7, "max_timesteps": 8, "optimize": "stalls", "interval": 2,
        "accuracy_budget": 0.5, "samples": 4, "unrolling": [16, 4, 2, 8], "accuracy": "m.py:f",
        "lowering": "plain",
    }  # fmt: skip


def test_a_suggestion_gives_what_it_promises(flow, tmp_path):
    suggestion = flow.build.report.suggestions[0]
    build = qd.compile(flow.model, tmp_path / "next", **suggestion["keywords"])
    assert build.report.document["measures"] == suggestion["gives"]
    assert build.report.document["measures"] != flow.build.report.document["measures"]
