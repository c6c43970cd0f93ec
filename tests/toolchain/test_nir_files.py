"""NIR files from strangers: nothing outside is read, memory and time are bounded, errors name the node."""

import random
import re
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from toolchain.errors import ModelFileError, QacDeployError
from toolchain.importers.nir_format import hdf5_child, hdf5_file, import_nir

LIMIT_BYTES = 64 * 2**20


def network():
    """A convolution, a pool, a join and a nested graph, so that mutants of every node are tried."""
    rng = np.random.default_rng(0)

    def weights(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def neurons(*shape):
        return nir.IF(np.ones(shape), np.full(shape, 0.75), np.zeros(shape))

    inner = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([5])}),
            "scale": nir.Scale(weights(5)),
            "if": neurons(5),
            "output": nir.Output({"output": np.array([5])}),
        },
        [("input", "scale"), ("scale", "if"), ("if", "output")],
    )
    nodes = {
        "input": nir.Input({"input": np.array([1, 6, 6])}),
        "conv": nir.Conv2d((6, 6), weights(2, 1, 3, 3), 1, 1, 1, 1, weights(2)),
        "n1": neurons(2, 6, 6),
        "same": nir.Conv2d((6, 6), weights(2, 2, 3, 3), 1, "same", 1, 1, weights(2)),
        "n2": neurons(2, 6, 6),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1),
        "matrix": nir.Affine(weights(5, 18), weights(5)),
        "inner": inner,
        "output": nir.Output({"output": np.array([5])}),
    }
    edges = [
        ("input", "conv"), ("conv", "n1"), ("n1", "same"), ("same", "n2"), ("n1", "n2"), ("n2", "pool"),
        ("pool", "flat"), ("flat", "matrix"), ("matrix", "inner"), ("inner", "output"),
    ]  # fmt: skip
    return nir.NIRGraph(nodes, edges)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("nir") / "network.nir"
    nir.write(path, network())
    return path


@pytest.fixture
def bounded(monkeypatch):
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", str(LIMIT_BYTES))


def test_a_whole_file_is_read(written):
    imported = import_nir(written, timesteps=3)
    assert [p.name for p in imported.graph.spiking] == ["n1", "n2", "inner.if"]


# ---------------------------------------------------------------------------- what no file may hold


def _external(file):
    file["node/nodes/n1/r"] = h5py.ExternalLink("/etc/hostname", "/x")


def _soft(file):
    file["node/nodes/n1/r"] = h5py.SoftLink("/node/nodes/n1/v_threshold")


def _stored_outside(file):
    file.create_dataset("node/nodes/n1/r", (8,), "u1", external=[("/etc/hostname", 0, 8)])


def _virtual(file):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("node/nodes/n1/r", layout)


def _bomb(file):
    file.create_dataset(
        "node/nodes/n1/r", (2**24, 2**10), "f4", chunks=(1024, 1024), compression="gzip"
    )


def _bytes_that_grow(file):
    file.create_dataset("node/nodes/n1/r", (2**24,), "i1", chunks=(2**20,), compression="gzip")


def _many(file):
    for index in range(200):
        file.create_dataset(
            f"node/nodes/n1/r/{index}", (2**17,), "f4", chunks=(2**17,), compression="gzip"
        )


def _vlen(file):
    file.create_dataset("node/nodes/n1/r", (4,), h5py.vlen_dtype(np.float64))


def _reference(file):
    file.create_dataset("node/nodes/n1/r", (4,), h5py.ref_dtype)


def _compound(file):
    file["node/nodes/n1/r"] = np.zeros(4, [("a", "f4"), ("b", "f4")])


def _empty(file):
    file["node/nodes/n1/r"] = h5py.Empty("f4")


def _plug_in(file):
    space, created = h5py.h5s.create_simple((8,)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((8,))
    created.set_filter(32013, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file["node/nodes/n1"].id, b"r", h5py.h5t.IEEE_F64LE, space, created)


def _cycle(file):
    file["node/nodes/n1/r"] = file["node"]


def _deep(file):
    file.create_group("node/nodes/n1/r" + "/a" * 100)


def _control_character(file):
    file["node/nodes/n1/r\x1b[31m"] = 1.0


def _long_name(file):
    file["node/nodes/n1/" + "r" * 5000] = 1.0


HOSTILE = {
    _external: "node/nodes/n1/r: a link to another place or file, which is not followed",
    _soft: "node/nodes/n1/r: a link to another place or file, which is not followed",
    _stored_outside: "node/nodes/n1/r: stored in another file, which is not read",
    _virtual: "node/nodes/n1/r: stored in another file, which is not read",
    _bomb: "node/nodes/n1/r: takes all arrays above the limit of 67,108,864 bytes of memory",
    _bytes_that_grow: "node/nodes/n1/r: takes all arrays above the limit of 67,108,864 bytes of memory",
    _many: "takes all arrays above the limit of 67,108,864 bytes of memory",
    _vlen: "node/nodes/n1/r: of type object, not numbers or texts",
    _reference: "node/nodes/n1/r: of type object, not numbers or texts",
    _compound: "node/nodes/n1/r: of type [('a', '<f4'), ('b', '<f4')], not numbers or texts",
    _empty: "node/nodes/n1/r: an array without values",
    _plug_in: "node/nodes/n1/r: compressed by filter 32013, a plug-in",
    _cycle: "groups deep",
    _deep: "more than 24 groups deep",
    _control_character: "n1: a name in it must be at most 200 printable characters, not 'r\\x1b[31m'",
    _long_name: "node/nodes/n1: a name in it must be at most 200 printable characters, not 'rrrrr",
}


LIMITS = {"max_bytes": LIMIT_BYTES, "max_objects": 50_000, "max_depth": 24, "max_texts": 2**20}


def planted(written, tmp_path, plant):
    """A file with something else in the place of one array."""
    path = tmp_path / "hostile.nir"
    path.write_bytes(written.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["node/nodes/n1/r"]
        plant(file)
    return path


@pytest.mark.parametrize("plant", HOSTILE, ids=lambda plant: plant.__name__[1:])
def test_what_no_nir_file_needs_is_refused(written, tmp_path, plant):
    header, arrays = hdf5_child.answer_for(str(planted(written, tmp_path, plant)), LIMITS)
    assert HOSTILE[plant] in f"{'/'.join(header['path'])}: {header['refused']}"
    assert not arrays


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("plant", [_external, _bomb], ids=lambda plant: plant.__name__[1:])
def test_a_refusal_names_the_file(written, tmp_path, plant):
    path = planted(written, tmp_path, plant)
    with pytest.raises(ModelFileError, match=re.escape(f"{path}: {HOSTILE[plant]}")):
        import_nir(path, timesteps=2)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "import time; time.sleep(60)",
            "damaged: the HDF5 library did not end in 0.31 s; write the file",
        ),
        (
            "import os; os.abort()",
            "damaged: the HDF5 library ended with code -6 (no message), or needs more",
        ),
    ],
)
def test_a_file_that_ends_the_library_ends_no_other_process(
    written, tmp_path, monkeypatch, script, message
):
    """HDF5 2.0 crashes on about one in a thousand damaged files, and reads some forever."""
    (tmp_path / "child.py").write_text(script)
    monkeypatch.setattr(hdf5_file, "_SCRIPT", tmp_path / "child.py")
    with pytest.raises(ModelFileError, match=re.escape(f"{written}: {message}")):
        hdf5_file.read_hdf5(written, timeout_s=0.3)


@pytest.mark.usefixtures("bounded")
def test_memory_of_the_child_is_bounded(written, tmp_path, monkeypatch):
    """Its own limits, in front of a script that takes 4 GiB."""
    own = Path(hdf5_child.__file__).read_text()
    script = own[: own.index("import h5py")] + "bytearray(4 * 2**30)"
    (tmp_path / "child.py").write_text(script)
    monkeypatch.setattr(hdf5_file, "_SCRIPT", tmp_path / "child.py")
    with pytest.raises(
        ModelFileError,
        match="ended with code 1 \\(MemoryError\\), or needs more memory than QAC_DEPLOY_LIMIT_BYTES",
    ):
        hdf5_file.read_hdf5(written)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an HDF5 file, which a NIR graph is; write it with nir.write"),
        (b"PK\x03\x04", "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged ("),
    ],
)
def test_other_content(content, message, tmp_path):
    path = tmp_path / "x.nir"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=re.escape(f"{path}: {message}")):
        import_nir(path, timesteps=2)


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read \\(No such file or directory\\)"):
        import_nir(tmp_path / "none.nir", timesteps=2)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("layer", "is a NetX file of lava-dl, which has no float network"),
        ("model_weights", "is a Keras file; convert it with tf2onnx"),
        ("x", "has no group 'node', so it is not a NIR graph; write it with nir.write"),
    ],
)
def test_other_hdf5_files(group, message, tmp_path):
    with h5py.File(tmp_path / "x.nir", "w") as file:
        file.create_group(group)
    with pytest.raises(ModelFileError, match=message):
        import_nir(tmp_path / "x.nir", timesteps=2)


# -------------------------------------------------------------------------------------- mutants


class Record:
    """A graph in memory, of any content."""

    def __init__(self, content):
        self.content = content

    def to_dict(self):
        return self.content


def copied(content):
    copy = {dict: copied, np.ndarray: np.copy}
    return {name: copy.get(type(value), str)(value) for name, value in content.items()}


def groups_of(content):
    yield content
    for value in content.values():
        if isinstance(value, dict):
            yield from groups_of(value)


KINDS = (
    "IF", "LIF", "CubaLIF", "LI", "I", "Linear", "Affine", "Conv1d", "Conv2d", "Scale", "SumPool2d",
    "AvgPool2d", "Flatten", "Input", "Output", "NIRGraph", "Delay", "Threshold", "Dense", "",
)  # fmt: skip


def mutated_value(value, chance):
    """Another value in the place of one."""
    numbers = np.asarray(value) if hasattr(value, "dtype") and value.dtype != object else np.ones(3)
    options = [
        lambda: "text",
        lambda: numbers.reshape(-1)[: chance.randrange(4)],
        lambda: numbers[None],
        lambda: np.repeat(numbers, 2, axis=-1) if numbers.ndim else np.ones(2),
        lambda: (
            numbers.astype(np.float64) * chance.choice([0, -1, np.nan, np.inf, 1e30, 1e-30, 0.5])
        ),
        lambda: numbers.astype(np.int64),
        lambda: np.asarray(chance.choice([0, -1, 1, 2, 3, 7, 1000, 2**23, 2**40])),
        lambda: np.asarray(
            [chance.choice([0, 1, 2, 5, 999, 2**22]) for _ in range(chance.randrange(1, 4))]
        ),
        lambda: {},
        lambda: np.array([["n1", "n1"]], object),
    ]
    with np.errstate(all="ignore"):
        return chance.choice(options)()


def mutated_record(content, chance):
    """A record with some changes: fields, types, names, edges and nodes."""
    content = copied(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        group = chance.choice([g for g in groups_of(content) if g])
        name = chance.choice(list(group))
        edges = group.get("edges")
        match chance.randrange(9):
            case 0:
                del group[name]
            case 1:
                group[f"{name}{chance.choice(['2', chr(27), 'x' * 300, '/', '.'])}"] = group[name]
            case 2 if "type" in group:
                group["type"] = chance.choice(KINDS)
            case 3 if isinstance(edges, np.ndarray) and edges.ndim == 2 and len(edges):
                edges[chance.randrange(len(edges)), chance.randrange(edges.shape[1])] = (
                    chance.choice([*content.get("nodes", {"a": 0}), "none"])
                )
            case 4 if isinstance(edges, np.ndarray) and edges.ndim == 2 and len(edges):
                group["edges"] = np.concatenate([edges, edges[:1, ::-1]])
            case 5 if isinstance(edges, np.ndarray) and len(edges):
                group["edges"] = np.delete(edges, chance.randrange(len(edges)), axis=0)
            case 6 if isinstance(group.get("nodes"), dict) and len(group["nodes"]) > 1:
                first, second = chance.sample(list(group["nodes"]), 2)
                nodes = group["nodes"]
                nodes[first], nodes[second] = nodes[second], nodes[first]
            case _:
                group[name] = mutated_value(group[name], chance)
    return content


def refusal(given):
    """What is said of a graph; empty if it loads."""
    try:
        import_nir(given, timesteps=2)
    except QacDeployError as error:
        return str(error)
    return ""


def try_record(content, seed):
    """Import one mutant; True if it loads."""
    said = refusal(Record(mutated_record(content, random.Random(seed))))
    assert not said or said.startswith("the NIR graph"), (seed, said)
    assert len(said) < 1000, (seed, said)
    assert not said or said.isprintable(), (seed, said)
    return not said


def mutated_bytes(content, chance):
    content = bytearray(content)
    if chance.random() < 0.2:
        del content[chance.randrange(len(content)) :]
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4, 16])):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def try_file(content, path, seed):
    """Import one damaged file; True if it loads."""
    path.write_bytes(mutated_bytes(content, random.Random(seed)))
    said = refusal(path)
    assert not said or said.startswith(f"{path}: "), (seed, said)
    assert not said or said.isprintable(), (seed, said)
    return not said


@pytest.fixture(scope="module")
def record(written):
    return hdf5_file.read_hdf5(written)["node"]


@pytest.mark.usefixtures("bounded")
def test_mutated_records(record):
    loaded = [try_record(record, seed) for seed in range(80)]
    assert 0 < sum(loaded) < len(loaded)


@pytest.mark.usefixtures("bounded")
def test_damaged_files(written, tmp_path):
    content = written.read_bytes()
    loaded = [try_file(content, tmp_path / "x.nir", seed) for seed in range(10)]
    assert 0 < sum(loaded) < len(loaded)


def memory_kib(field):
    """Memory of this process: VmRSS is used now, VmHWM was the peak."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1])


@pytest.mark.slow
@pytest.mark.usefixtures("bounded")
def test_thousands_of_mutants(written, record, tmp_path):
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of other tests
    start_kib = memory_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    loaded = [try_record(record, seed) for seed in range(1000, 2200)]
    assert 100 < sum(loaded) < 1100
    content = written.read_bytes()
    with ThreadPoolExecutor(2) as pool:
        files = list(
            pool.map(
                lambda seed: try_file(content, tmp_path / f"{seed}.nir", seed), range(1000, 1800)
            )
        )
    assert 100 < sum(files) < 700
    assert memory_kib("VmHWM") < start_kib + 2**20
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(children, 2**20)
