"""Array files: every figure has a source, and a bad file is refused by name and field."""

from __future__ import annotations

import pytest
import yaml

from hw_models.figures import BUILT_IN, KINDS
from hw_models.pe_array.array_description import BUFFERS, load_array
from toolchain.errors import TargetError


def test_the_built_in_array_loads_and_every_figure_has_a_source():
    array = load_array("pe-array")
    assert set(array.buffers) == set(BUFFERS)
    assert array.unrolling.num_elements == 16 * 4 * 2 * 8
    assert array.dataflow.time_loop == "innermost"
    for figure in array.figures.values():
        assert figure.kind in KINDS
        assert len(figure.source) >= 8


def changed(tmp_path, change):
    document = yaml.safe_load((BUILT_IN / "pe-array.yaml").read_text())
    change(document)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def resize(buffer, size_bytes):
    def change(document):
        document["figures"]["buffers"][buffer]["size_bytes"]["value"] = size_bytes

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["figures"]["unrolling"]["output_channels"].update(value=0),
            "unrolling.output_channels.value must be at least 1, not 0",
        ),
        (
            lambda d: d["figures"]["buffers"].pop("membrane"),
            "buffers.membrane.copies is missing; add it with value, kind and source",
        ),
        (resize("psum", 0), "buffers.psum.size_bytes.value must be at least 1, not 0"),
        (
            lambda d: d["figures"]["buffers"]["input"]["port_bytes"].update(value=0),
            "buffers.input.port_bytes.value must be at least 1, not 0",
        ),
        (
            lambda d: d["figures"]["buffers"]["output"]["copies"].update(value=3),
            "buffers.output.copies.value must be at most 2, not 3",
        ),
        (
            lambda d: d["figures"]["off_chip"]["bytes_per_cycle"].update(value=0),
            "off_chip.bytes_per_cycle.value must be at least 1, not 0",
        ),
        (
            resize("weight", 255),
            "buffers.weight.size_bytes.value must be at least 256 for the unrolling (M x V = 16 x 8 "
            "weights of 8 bits, twice), not 255",
        ),
        (
            resize("output", 31),
            "buffers.output.size_bytes.value must be at least 32 for the unrolling (M x N x S = 16 x 4 x 2 "
            "spikes, twice), not 31",
        ),
        (
            lambda d: d["dataflow"].update(time_loop="middle"),
            "dataflow.time_loop must be one of innermost, outermost, not 'middle'",
        ),
        (
            lambda d: d["dataflow"].update(fold=1),
            "dataflow.fold must be one of false, true, not 1",
        ),
        (lambda d: d.update(dataflow="fast"), "dataflow must be a mapping"),
    ],
)
def test_a_bad_array_names_file_and_field(tmp_path, change, message):
    path = changed(tmp_path, change)
    with pytest.raises(TargetError) as refusal:
        load_array(str(path))
    assert str(refusal.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("buffer", "least"),
    [("weight", 256), ("input", 16), ("psum", 384), ("membrane", 384), ("output", 32)],
)
def test_a_buffer_of_the_least_size_is_taken(tmp_path, buffer, least):
    """Twice what one cycle takes; the byte less is refused above."""
    assert load_array(str(changed(tmp_path, resize(buffer, least)))).name == "pe-array"
    with pytest.raises(TargetError, match=rf"buffers\.{buffer}\.size_bytes"):
        load_array(str(changed(tmp_path, resize(buffer, least - 1))))


def test_the_dataflow_is_a_choice_in_the_file(tmp_path):
    def change(document):
        document["dataflow"] = {"time_loop": "outermost", "fold": True}

    array = load_array(str(changed(tmp_path, change)))
    assert (array.dataflow.time_loop, array.dataflow.fold) == ("outermost", True)
    default = load_array(str(changed(tmp_path, lambda d: d.pop("dataflow"))))
    assert (default.dataflow.time_loop, default.dataflow.fold) == ("innermost", False)
