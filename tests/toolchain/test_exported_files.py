"""``.pt2`` files from strangers: read, or refused by name, and never executed."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import ModelFileError, QacDeployError
from toolchain.files.exported_file import load_program
from toolchain.files.exported_operations import allowed_target
from toolchain.importers.exported_format import import_exported, read_exported
from toolchain.importers.operations.table import KNOWN
from toolchain.importers.torch_module import convert
from toolchain.method.quantizers import TimestepQuantizer

SHAPE = (1, 8, 8)
DOCUMENT = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 4, 3, padding=1), TimestepQuantizer()
        self.classes = nn.Linear(256, 3)
        self.register_buffer("shift", torch.tensor([0.5]))

    def forward(self, x):
        x = self.relu(self.conv(x) + self.shift)
        return self.classes(x.view(x.size(0), -1))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    """Name and content of each member of a saved program."""
    path = tmp_path_factory.mktemp("saved") / "network.pt2"
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=batch)
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        return {info.filename.split("/", 1)[1]: archive.read(info) for info in archive.infolist()}


def written(path, members, root="network", **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
    return path


def changed(saved, name, change):
    document = json.loads(saved[name])
    change(document)
    return {**saved, name: json.dumps(document).encode()}


def nodes(document):
    return document["graph_module"]["graph"]["nodes"]


def node_of(document, operation):
    return next(n for n in nodes(document) if operation in n["target"])


def test_a_file_is_read_as_its_program(network, saved, tmp_path):
    path = written(tmp_path / "network.pt2", saved)
    program = load_program(path)
    images = torch.rand(3, *SHAPE)
    assert torch.allclose(program.module()(images), network(images), atol=1e-6)
    imported = import_exported(path, max_value=16)
    assert [(p.name, p.timesteps) for p in imported.graph.spiking] == [("relu", 4)]
    assert imported.source == "PyTorch exported program with quantizers of qac-deploy"
    assert imported.agreement.num_counts == imported.agreement.num_samples * 256
    assert convert(program, SHAPE, 16)["relu"].timesteps == 4


class Marking:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def as_pickle(mark):
    buffer = io.BytesIO()
    torch.save(Marking(mark), buffer)
    return buffer.getvalue()


def pickled_weight(saved, mark):
    def change(document):
        document["config"]["conv.weight"]["use_pickle"] = True

    return {**changed(saved, WEIGHTS, change), "data/weights/weight_0": as_pickle(mark)}


def evaluated_expression(saved, mark):
    def change(document):
        sizes = document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = f"__import__('os').system('touch {mark}')"

    return changed(saved, DOCUMENT, change)


def written_into_source(saved, mark):
    name = f"x=__import__('os').system('touch {mark}')"
    content = saved[DOCUMENT].replace(b'"p_conv_weight"', json.dumps(name).encode())
    return {**saved, DOCUMENT: content}


@pytest.mark.parametrize(
    ("exploit", "message"),
    [
        (
            pickled_weight,
            f"{WEIGHTS}: document.config.conv.weight: is stored as a pickle, which may run",
        ),
        (
            evaluated_expression,
            r"sizes\[0\].as_expr.expr_str must be a symbolic expression of sizes",
        ),
        (written_into_source, "must be the name of a value, of letters, digits and _, not"),
    ],
)
def test_what_runs_code_in_torch_is_refused(saved, tmp_path, exploit, message):
    mark = tmp_path / "executed"
    path = written(tmp_path / "network.pt2", exploit(saved, mark))
    with pytest.raises(ModelFileError, match=message) as caught:
        load_program(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("exploit", [pickled_weight, evaluated_expression])
def test_the_exploits_are_real(saved, tmp_path, exploit):
    mark = tmp_path / "executed"
    path = written(tmp_path / "network.pt2", exploit(saved, mark))
    with pytest.raises(Exception, match=r".+"):
        torch.export.load(path).module()
    assert mark.exists()


def test_sample_inputs_are_not_read(saved, tmp_path):
    mark = tmp_path / "executed"
    members = {**saved, "data/sample_inputs/model.pt": as_pickle(mark)}
    load_program(written(tmp_path / "network.pt2", members))
    assert not mark.exists()


def test_names_from_a_file_are_shown_as_plain_text(saved, tmp_path):
    def change(document):
        node = node_of(document, "aten.add")
        node["target"] = "torch.ops.aten.sigmoid.default"
        node["inputs"] = node["inputs"][:1]
        node["inputs"][0]["name"] = "self"
        node["metadata"]["nn_module_stack"] = "key,\x1b\u202ename,torch.nn.Sigmoid"
        node["metadata"]["stack_trace"] = f'File "{"x" * 5000}.py", line 1, in forward\n    x'

    path = written(tmp_path / "network.pt2", changed(saved, DOCUMENT, change))
    with pytest.raises(QacDeployError, match=r"^\\x1b\\u202ename: ") as caught:
        import_exported(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def set_target(target):
    return lambda document: node_of(document, "aten.add").update(target=target)


def set_argument(**argument):
    return lambda document: node_of(document, "aten.add")["inputs"][0].update(arg=argument)


def set_output_tree(document):
    tree = [1, {"type": "builtins.dict", "context": '[{"__enum__": true, "fqn": "os:x", "name": "y"}]',
                "children_spec": []}]  # fmt: skip
    document["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps(tree)


def set_constants(document):
    add = node_of(document, "aten.add")
    add["target"] = "torch.ops.aten.full.default"
    add["inputs"] = [
        {"name": "size", "arg": {"as_ints": [2**20, 2**20]}, "kind": 1},
        {"name": "fill_value", "arg": {"as_int": 1}, "kind": 1},
    ]


def set_power(document):
    expression = document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]
    expression["expr_str"] = "Pow(Integer(9), Pow(Integer(9), Integer(9)))"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_target("torch.hub.load"), r"nodes\[\d+\].target must be an operation of torch.ops.aten"),
        (set_target("torch.ops.aten.from_file.default"), "must be an operation of torch.ops.aten"),
        (set_target("torch.ops.aten.add.__class__"), "must be an operation of torch.ops.aten"),
        (set_target("torch.ops.torchao.da8w4_linear_cpu.default"), "must be an operation of torch.ops"),
        (set_target("torch.ops.load_library"), "must be an operation of torch.ops.aten"),
        (set_target("math.factorial"), "must be an operation of torch.ops.aten"),
        (set_argument(as_operator="torch.hub.load"), "'as_operator' is not among as_none, as_tensor"),
        (set_argument(as_custom_obj={"name": "x"}), "custom objects may run code"),
        (set_argument(as_graph={}), "control flow"),
        (set_output_tree, "must be a dictionary whose keys are texts or integers"),
        (set_power, "must be a symbolic expression of sizes"),
        (set_constants, "a tensor of 1,099,511,627,776 elements, above the limit"),
        (lambda d: d.update(range_constraints={"u99999999": {}}), "must be the name of a symbol"),
        (lambda d: d.pop("graph_module"), "document.graph_module must be a record, not None"),
    ],
)  # fmt: skip
def test_what_is_not_plain_in_the_document_is_refused(saved, tmp_path, change, message):
    path = written(tmp_path / "network.pt2", changed(saved, DOCUMENT, change))
    with pytest.raises(ModelFileError, match=message) as caught:
        load_program(path)
    assert f"{path}: {DOCUMENT}" in str(caught.value)


def set_shape(*sizes):
    def change(document):
        meta = document["config"]["conv.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": size} for size in sizes]

    return change


def test_a_tensor_that_is_larger_than_its_member_is_refused(saved, tmp_path):
    for sizes in ((4, 1, 3, 2**40), (5, 1, 3, 3)):
        path = written(tmp_path / "network.pt2", changed(saved, WEIGHTS, set_shape(*sizes)))
        with pytest.raises(
            ModelFileError, match=r"'conv.weight' has shape .* too small or too large"
        ):
            load_program(path)


def test_archives_that_are_no_programs_are_refused(saved, tmp_path):
    path = tmp_path / "network.pt2"
    with pytest.raises(ModelFileError, match="no such file"):
        load_program(path)
    path.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(ModelFileError, match="damaged zip archive"):
        load_program(path)
    cases = {
        "is not in the one folder of the archive": {"../../evil": b""},
        "compiled code of AOTInductor is not read": {"data/aotinductor/model/x.so": b""},
        "a second program": {"models/other.json": b"{}"},
        "is no part of an exported program of plain tensors": {"data/constants/custom_obj_0": b""},
    }
    for message, member in cases.items():
        with pytest.raises(ModelFileError, match=message):
            load_program(written(path, {**saved, **member}))
    bomb = {**saved, "data/weights/weight_0": bytes(10**7)}
    with pytest.raises(ModelFileError, match="its members take more bytes than the file has"):
        load_program(written(path, bomb, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(ModelFileError, match=r"has no member 'models/model\.json'"):
        load_program(written(path, {k: v for k, v in saved.items() if k != DOCUMENT}))
    with pytest.raises(ModelFileError, match=r"stored weights as pickles; .* torch 2\.9"):
        load_program(written(path, {**saved, "data/weights/model.pt": b""}))


def mutated_value(value, choose):
    """One value of a document replaced by another, somewhere in it."""
    strange = [None, True, -1, 2**70, 0.5, "", "x" * 30_000, "a;b", "\x1b[2J", [], {}, [[]], "nan"]
    if isinstance(value, dict) and value and choose.random() < 0.9:
        key = choose.choice(list(value))
        if choose.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutated_value(value[key], choose)}
    if isinstance(value, list) and value and choose.random() < 0.9:
        at = choose.randrange(len(value))
        return [*value[:at], mutated_value(value[at], choose), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and choose.random() < 0.5:
        return value + choose.choice([-1, 1, 7, 2**31])
    return choose.choice(strange)


def mutated(saved, choose):
    kind = choose.random()
    if kind < 0.75:
        name = choose.choice([DOCUMENT, DOCUMENT, WEIGHTS])
        document = mutated_value(json.loads(saved[name]), choose)
        return {**saved, name: json.dumps(document).encode()}
    name = choose.choice(list(saved))
    content = bytearray(saved[name] or b"?")
    at = choose.randrange(len(content))
    if kind < 0.9:
        content[at] = choose.randrange(256)
    else:
        del content[at:]
    return {**saved, name: bytes(content)}


def assert_read_or_refused(path):
    refused = refusal_of(path)
    if refused is None:
        return True
    assert str(refused).isprintable()
    assert len(str(refused)) < 2000
    assert str(path) in str(refused) or not isinstance(refused, ModelFileError)
    return False


def refusal_of(path):
    try:
        network = read_exported(path)
        network.execute(np.zeros((1, *(network.input_shape or SHAPE)), np.float32))
    except QacDeployError as error:
        return error
    return None


@pytest.mark.parametrize("seed", range(12))
def test_a_mutated_file_is_read_or_refused(saved, tmp_path, seed, capfd):
    assert_read_or_refused(written(tmp_path / "x.pt2", mutated(saved, random.Random(seed))))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_many_mutated_files_are_read_or_refused(saved, tmp_path):
    read = 0
    for seed in range(12, 500):
        members = mutated(saved, random.Random(seed))
        path = written(tmp_path / "x.pt2", members)
        if seed % 5 == 0:  # damage of the archive itself
            content = bytearray(path.read_bytes())
            content[random.Random(seed).randrange(len(content))] ^= 255
            path.write_bytes(content)
        read += assert_read_or_refused(path)
    assert 0 < read < 400


def test_what_the_importer_knows_may_be_in_a_file():
    """Each operation is read, or refused with a reason of its own, and not by the gate in front."""
    names = [
        name for name in sorted(KNOWN - {"rrelu"}) if hasattr(torch.ops.aten, name)
    ]  # it is random
    assert len(names) > 100
    for name in names:
        overloads = getattr(torch.ops.aten, name).overloads()
        assert any(allowed_target(f"torch.ops.aten.{name}.{o}") for o in overloads), name
