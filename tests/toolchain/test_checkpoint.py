"""Model files and integer networks on disk are read as they were written, or refused."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import float_connect, float_dense, float_network_of, float_spiking
from small_networks import residual_network
from torch import nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.serialize import (
    array_titles,
    describe_network,
    load_integer_network,
    save_integer_network,
)
from toolchain.networks.layer_graph import (
    LayerGraph,
    verify_layer_graph,
)
from toolchain.networks.linear_maps import Convolution

PIXELS = np.random.default_rng(1).integers(0, 16, (6, 1, 3, 3))


def neurons(name, **changes):
    return replace(float_spiking(name, (1, 3, 3), timesteps=3, threshold=1.5), **changes)


def chain(*populations, max_value=15, unit=1 / 15):
    """input -> each population in turn -> readout, with random weights."""
    random = np.random.default_rng(0)
    names = ["input", *(p.name for p in populations)]
    maps = [Convolution(weight=random.normal(size=(1, 1, 1, 1)) + 1) for _ in populations]
    return float_network_of(
        *populations,
        *map(float_connect, names[:-1], names[1:], maps),
        float_connect(names[-1], "readout", float_dense(random.normal(size=(4, 9)))),
        image=(1, 3, 3),
        max_value=max_value,
        unit=unit,
        readout="readout",
        classes=4,
        bias=random.normal(size=4),
    )


# names of parts that a file format might join by "->" or "/", or that it gives a meaning of its own
MEETING_NAMES = [
    ("x", "y->z", "x->y", "z"),
    ("a", "a/bias", "a/threshold", "a->a/maps.0.weight"),
    ("0", "1", "2", "10"),
    ("x", "x.npy", "__metadata__", "../x"),
    ("inner.0", "inner_0", "inner 0", "INNER.0"),
]


@pytest.mark.parametrize("names", MEETING_NAMES)
def test_names_of_populations_never_meet_in_a_model_file(tmp_path, names):
    random = np.random.default_rng(3)
    graph = chain(*(neurons(name, bias=random.normal(size=(1, 3, 3))) for name in names))
    save_checkpoint(tmp_path / "model.pt", Checkpoint(graph, {}))
    loaded = load_checkpoint(tmp_path / "model.pt").graph
    before, after = (run_float_snn(g, PIXELS, with_counts=True) for g in (graph, loaded))
    assert np.array_equal(before.step_logits, after.step_logits)
    assert {n: c.tolist() for n, c in before.counts.items()} == {
        n: c.tolist() for n, c in after.counts.items()
    }


@pytest.mark.parametrize("names", MEETING_NAMES)
def test_names_of_populations_never_meet_in_an_integer_network(tmp_path, names):
    network = residual_network()
    new = dict(zip((p.name for p in network.populations), ("input", *names), strict=True))
    network = IntegerNetwork.build(
        [replace(p, name=new[p.name]) for p in network.populations],
        [replace(s, source=new[s.source], target=new[s.target]) for s in network.synapses],
    )
    save_integer_network(network, tmp_path)
    document, arrays = describe_network(network)
    found_document, found = describe_network(load_integer_network(tmp_path))
    assert document == found_document
    assert len(arrays) == 3 * 3 + 1 + 5  # of three spiking populations, the readout, five synapses
    assert all(np.array_equal(array, found[name]) for name, array in arrays.items())
    titles = array_titles(document)
    assert titles.keys() == arrays.keys()
    assert len(set(titles.values())) == len(titles)


def per_population(value):
    return np.full((1, 1, 1), value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("threshold", 1e-300, "threshold must be at least 1e-12, not 1e-300"),
        ("threshold", -1.0, "threshold must be positive, not -1"),
        ("threshold", 2e12, "threshold must be at most 1e+12 in magnitude, not 2e+12"),
        ("threshold", np.nan, "threshold must be finite, but holds NaN or infinity"),
        (
            "initial_potential",
            1e300,
            "initial_potential must be at most 1e+12 in magnitude, not 1e+300",
        ),
        ("initial_potential", -1.0, "initial_potential must be at least 0, not -1"),
        ("initial_potential", 3.0, "initial_potential must be below the threshold, not 2 times it"),
        ("initial_potential", 1.5, "initial_potential must be below the threshold, not 1 times it"),
        ("bias", -1e13, "bias must be at most 1e+12 in magnitude, not 1e+13"),
        ("bias", np.inf, "bias must be finite, but holds NaN or infinity"),
    ],
)
def test_values_no_neuron_can_have_are_refused_by_name_and_limit(tmp_path, field, value, message):
    graph = chain(neurons("hidden", **{field: per_population(value)}))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        verify_layer_graph(graph)
    assert str(refusal.value) == f"hidden: {message}"
    save_checkpoint(tmp_path / "model.pt", Checkpoint(graph, {}))
    with pytest.raises(ModelFileError, match=rf"^{tmp_path}/model.pt: .*{field}"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": 65_537}, "hidden: timesteps must be an integer from 1 to 65,536, not 65537"),
        (
            {"shape": (1, 2**14, 2**14)},
            "hidden: shape (1, 16384, 16384) has 268,435,456 neurons, above the limit of 16,777,216",
        ),
    ],
)
def test_populations_beyond_any_network_are_refused(changes, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        verify_layer_graph(chain(neurons("hidden", **changes)))
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unit", 1e-300, "input: unit must be from 1e-12 to 1e+12, not 1e-300"),
        ("unit", float("nan"), "input: unit must be from 1e-12 to 1e+12, not nan"),
        ("max_value", 2**24 + 1, "input: max_value must be from 1 to 16,777,216, not 16777217"),
    ],
)
def test_an_input_beyond_any_image_is_refused(field, value, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        verify_layer_graph(chain(neurons("hidden"), **{field: value}))
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("value", "must_be"), [(2e12, "at most 1e\\+12 in magnitude, not 2e\\+12"), (np.nan, "finite")]
)
def test_a_huge_weight_is_refused_by_its_synapse(value, must_be):
    graph = chain(neurons("hidden"))
    (synapse,) = graph.incoming("hidden")
    wrong = replace(synapse, maps=(Convolution(weight=np.full((1, 1, 1, 1), value)),))
    others = [s for s in graph.synapses if s is not synapse]
    with pytest.raises(
        UnsupportedNetworkError, match=rf"^input -> hidden .*: weight must be {must_be}"
    ):
        verify_layer_graph(LayerGraph.build(graph.populations, [wrong, *others]))


def test_the_limits_themselves_are_allowed():
    at_limit = neurons(
        "hidden", timesteps=65_536, threshold=per_population(1e-12), initial_potential=per_population(0.0),
        bias=per_population(1e12),
    )  # fmt: skip
    verify_layer_graph(chain(at_limit, max_value=2**24, unit=1e12))


@pytest.fixture
def model(tmp_path):
    save_checkpoint(tmp_path / "model.pt", Checkpoint(chain(neurons("hidden")), {"epochs": 3}))
    return tmp_path / "model.pt"


def test_no_flipped_bit_changes_what_is_read(model):
    """A flipped bit is refused with one of our errors, or changes nothing."""
    content, original = model.read_bytes(), _values(load_checkpoint(model))
    random = np.random.default_rng(0)
    refused = 0
    for position in random.choice(len(content), 400, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(random.integers(8))
        model.write_bytes(damaged)
        try:
            found = _values(load_checkpoint(model))
        except ModelFileError:
            refused += 1
        else:
            assert found == original, position
    assert refused > 200


def _values(checkpoint):
    fields = [
        (
            p.name,
            getattr(p, "threshold", np.zeros(1)).tolist(),
            getattr(p, "bias", np.zeros(1)).tolist(),
        )
        for p in checkpoint.graph.populations
    ]
    weights = [m.weight.tolist() for s in checkpoint.graph.synapses for m in s.maps]
    return fields, weights, checkpoint.training


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda d: d["tensors"]["0"].add_(1e-9), "tensor 0"),
        (lambda d: d["tensors"].update({"3": d["tensors"]["3"].flip(0)}), "tensor 3"),
        (lambda d: d["populations"][1].update(timesteps=4), "structure"),
        (lambda d: d["training"].update(epochs=4), "training"),
        (lambda d: d["digests"].pop("tensor 1"), "tensor 1"),
        (lambda d: d["digests"].pop("training"), "training"),
        (lambda d: d.update(version=1, synapses=d["synapses"][::-1]), "structure"),
    ],
)
def test_a_part_that_is_not_what_was_saved_is_named(model, change, part):
    """The file is changed and saved again, so that the checksums of its members are right."""
    document = torch.load(model, weights_only=True)
    change(document)
    torch.save(document, model)
    with pytest.raises(ModelFileError, match=f"damaged: {part} differs from its stored digest"):
        load_checkpoint(model)


def test_a_file_of_the_first_version_has_no_digests_and_is_read(model):
    original = _values(load_checkpoint(model))
    document = torch.load(model, weights_only=True)
    del document["digests"]
    torch.save(document | {"version": 1}, model)
    assert _values(load_checkpoint(model)) == original


def test_a_file_of_the_second_version_has_no_digest_of_its_training_and_is_read(model):
    original = _values(load_checkpoint(model))
    document = torch.load(model, weights_only=True)
    del document["digests"]["training"]
    torch.save(document | {"version": 2}, model)
    assert _values(load_checkpoint(model)) == original


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1, 1, 1, requires_grad=True),
        torch.zeros(1, 1, 1, dtype=torch.bfloat16),
        torch.zeros(1, 1, 1, dtype=torch.int32),
        torch.zeros(1, 1, 1, device="meta"),
        torch.zeros(1, 1, 1).to_sparse(),
        torch.eye(3, dtype=torch.float8_e4m3fn),
        torch.zeros(1, 1, 1, dtype=torch.complex64).conj().imag,
        nn.Parameter(torch.zeros(1, 1, 1)),
        [1.0],
    ],
)
def test_what_is_no_plain_tensor_is_refused(model, tensor):
    document = torch.load(model, weights_only=True)
    document["tensors"]["1"] = tensor
    torch.save(document, model)
    with pytest.raises(ModelFileError, match=r"tensors\.1 must be a plain dense tensor of float"):
        load_checkpoint(model)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused(model):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    test_what_is_no_plain_tensor_is_refused(model, nested)


def test_a_tensor_larger_than_its_file_is_refused(model):
    document = torch.load(model, weights_only=True)
    document["tensors"]["1"] = torch.zeros(1).expand(1 << 20, 1 << 20, 1)
    torch.save(document, model)
    with pytest.raises(ModelFileError, match=r"tensors\.1 takes more bytes than the file has"):
        load_checkpoint(model)


def cyclic():
    values = []
    values.append(values)
    return values


def doubled(levels):
    values = [1]
    for _ in range(levels):
        values = [values, values]
    return values


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"training\.x must be finite, not nan"),
        ({1}, r"training\.x must be a record, .*, not of type set"),
        (torch.ones(2), r"training\.x must be a record, .*, not of type Tensor"),
        (2**64, r"training\.x must be an integer of at most 64 bits"),
        ({1.5: 2}, r"training\.x must have texts as names, not 1\.5"),
        (cyclic(), r"training\.x\[0\].* is more than 64 levels deep"),
        (doubled(40), "more than 100,000 values, each written out where it is named"),
    ],
)
def test_what_is_not_plain_is_neither_written_nor_read(model, tmp_path, value, message):
    checkpoint = load_checkpoint(model)
    with pytest.raises(ModelFileError, match=message):
        save_checkpoint(tmp_path / "new.pt", Checkpoint(checkpoint.graph, {"x": value}))
    assert not (tmp_path / "new.pt").exists()
    document = torch.load(model, weights_only=True)
    document["training"]["x"] = value
    torch.save(document, model)
    with pytest.raises(ModelFileError, match=message):
        load_checkpoint(model)


def test_an_archive_over_several_disks_is_refused(model):
    content = bytearray(model.read_bytes())
    content[content.rindex(b"PK\x06\x07") + 16] = 2
    model.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged \(.*multiple disks.*\); make one with"):
        load_checkpoint(model)


def test_a_member_whose_name_is_not_printable_is_shown_in_one_line(model):
    content = model.read_bytes().replace(b"/version", b"/v\x07rsion")
    model.write_bytes(content.replace(b"3\n", b"4\n"))
    with pytest.raises(ModelFileError, match=r"of member '.*/v\\x07rsion' does not match"):
        load_checkpoint(model)


def test_a_compressed_member_is_refused(model):
    with zipfile.ZipFile(model) as archive:
        members = {m.filename: archive.read(m) for m in archive.infolist()}
    with zipfile.ZipFile(model, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(
        ModelFileError, match=r"data\.pkl' is compressed, which torch does not write"
    ):
        load_checkpoint(model)
