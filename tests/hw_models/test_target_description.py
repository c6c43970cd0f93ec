"""Targets are data: every figure has a source, and a bad file is refused by name and field."""

from __future__ import annotations

import pytest
import yaml

from hw_models.figures import BUILT_IN, KINDS, load_figures
from hw_models.target_description import load_target
from toolchain.errors import TargetError


@pytest.mark.parametrize("name", ["loihi-sim", "loihi2-sim"])
def test_built_in_targets_load_and_every_figure_has_a_source(name):
    target = load_target(name)
    assert target.name == name
    assert target.figures
    for figure in target.figures.values():
        assert figure.kind in KINDS
        assert len(figure.source) > 10


def test_loihi_limits():
    target = load_target("loihi-sim")
    assert target.mesh.num_cores == 128
    assert target.core.synapse_words * 64 == 128 * 1024 * 8
    assert target.widths.max_threshold == (2**17 - 1) << 6
    assert target.widths.max_bias == 4095 << 7


def test_barrier_durations_are_interpolated():
    profile = load_target("loihi-sim").cost_profiles["davies2018"]
    assert [profile.barrier_duration_ns(n) for n in (1, 32)] == [113, 465]
    assert profile.barrier_duration_ns(16) == pytest.approx(113 + 15 / 31 * (465 - 113))


def test_the_barrier_of_sana_fe_is_its_table_in_steps():
    """Its LookupTable takes the largest entry that is not above the number of tiles."""
    profile = load_target("loihi-sim").cost_profiles["sanafe"]
    table = {1: 600, 2: 1000, 4: 1400, 29: 1800}
    for tiles in range(1, 129):
        expected = table[max(entry for entry in table if entry <= tiles)]
        assert profile.barrier_duration_ns(tiles) == expected, tiles


def changed(tmp_path, change):
    document = yaml.safe_load((BUILT_IN / "loihi-sim.yaml").read_text())
    change(document)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["figures"]["core"].pop("compartments"),
            "core.compartments is missing; add it with value, kind and source",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].update(value=0),
            "mesh.width.value must be at least 1, not 0",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].update(value=1.5),
            "mesh.width.value must be an integer, not 1.5",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].update(value="wide"),
            "mesh.width.value must be a number, not 'wide'; each figure has a value, its kind and its source",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].update(kind="guessed"),
            "mesh.width.kind must be one of assumed, fitted, published, scaled, not 'guessed'"
            "; each figure has a value, its kind and its source",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].pop("source"),
            "mesh.width.source is missing; each figure has a value, its kind and its source",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].update(source=""),
            "mesh.width.source must be a text that says where the figure comes from, not ''"
            "; each figure has a value, its kind and its source",
        ),
        (
            lambda d: d["figures"]["mesh"]["width"].update(value=10**9),
            "mesh.width.value must be at most 256, not 1e+09",
        ),
        (
            lambda d: d["figures"]["integers"]["state_bits"].update(value=63),
            "integers.state_bits.value must be at most 62, not 63",
        ),
        (
            lambda d: d["figures"]["chips"]["count"].update(value=10**6),
            "chips.count.value must be at most 131,072, not 1e+06",
        ),
        (
            lambda d: d["figures"]["cost_profiles"]["sanafe"]["barrier_ns"].update(
                many={"value": 1, "kind": "assumed", "source": "mine"}
            ),
            "the names in cost_profiles.sanafe.barrier_ns must be tiles_1, tiles_2 and so on, not 'many'",
        ),
        (
            lambda d: d["figures"]["cost_profiles"]["sanafe"].update(barrier_ns={}),
            "cost_profiles.sanafe.barrier_ns needs at least one point",
        ),
        (
            lambda d: d.pop("figures"),
            "figures is missing; a hardware description has a name, a description and figures",
        ),
        (
            lambda d: d.update(name=["x"]),
            "name must be a non-empty text, not ['x']; a hardware description has a name, a description and "
            "figures",
        ),
    ],
)
def test_a_bad_target_names_file_and_field(tmp_path, change, message):
    path = changed(tmp_path, change)
    with pytest.raises(TargetError) as refusal:
        load_target(str(path))
    assert str(refusal.value) == f"{path}: {message}"


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(TargetError, match="not valid YAML"):
        load_figures(str(path))


def test_an_unknown_target_lists_what_there_is():
    with pytest.raises(
        TargetError, match=r"no hardware description 'loihi-9'; choose one of .*loihi-sim"
    ):
        load_target("loihi-9")
