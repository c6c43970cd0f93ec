"""Places and use of the cores in report.json are those of mapping.json."""

from __future__ import annotations

import json
from itertools import pairwise, product

import pytest


def cores_of(places, replicas):
    """The cores of a report as mapping.json lists them, by the rules that ``PlacesRecord`` states."""
    of_chip = places["width"] * places["height"] * places["cores_per_tile"]
    owners = [
        (name, replica, tile)
        for name, edges in places["edges"].items()
        for replica in range(replicas[name])
        for tile in product(*(list(pairwise(axis)) for axis in edges))
    ]
    assert len(owners) == len(places["core"]) == len(places["use"])
    cores = []
    for (name, replica, tile), core, use in zip(owners, places["core"], places["use"], strict=True):
        mesh_tile = core % of_chip // places["cores_per_tile"]
        cores.append(
            {
                "core": core,
                "chip": core // of_chip,
                "position": [mesh_tile % places["width"], mesh_tile // places["width"]],
                "population": name,
                "replica": replica,
                **dict(zip(("channels", "rows", "columns"), map(list, tile), strict=True)),
                **{limit: values[use] for limit, values in places["uses"].items()},
            }
        )
    return cores


@pytest.fixture(scope="module")
def replicated(trained, tmp_path_factory):
    """A build whose populations have one, two and three replicas."""
    from deploy.compile.compile_model import compile_model
    from deploy.design.compilation import CompileOptions

    folder = tmp_path_factory.mktemp("replicated") / "build"
    compile_model(trained[1], folder, CompileOptions(samples=2, replicate={"join": 3, "stem": 2}))
    return folder


@pytest.mark.parametrize("build", ["plain", "replicated"])
def test_places_and_uses_are_those_of_the_mapping(build, compiled, request):
    folder = compiled[1] if build == "plain" else request.getfixturevalue("replicated")
    report = json.loads((folder / "report.json").read_text())
    mapping = json.loads((folder / "mapping.json").read_text())
    places = report["mapping"]["places"]
    replicas = {name: p["replicas"] for name, p in report["mapping"]["populations"].items()}
    assert cores_of(places, replicas) == mapping["cores"]
    assert places["available"] == mapping["limits"]
    different = set(zip(*places["uses"].values(), strict=True))
    assert len(different) == len(places["uses"]["neurons"])  # each is listed once
