"""Bad input through the command line: exit code 2, and a message that names file, field and remedy."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from builders import float_connect, float_dense, float_network_of
from installed_command import COMMAND, from_message

from deploy.build.load import load_report
from deploy.cli import main as command_line
from toolchain.files.checkpoint import Checkpoint, content_digests, save_checkpoint


@pytest.fixture
def document(trained):
    """The trained model file's content, to be damaged."""
    return torch.load(trained[1], weights_only=True)


@pytest.fixture
def refused(qac_deploy, tmp_path):
    """Compile a document with wrong content, its digests as for right one; return the error message."""

    def compile_document(document):
        with suppress(Exception):
            document["digests"] = content_digests(document)
        torch.save(document, tmp_path / "bad.pt")
        process = qac_deploy("compile", "bad.pt")
        assert process.returncode == 2, process.stdout + process.stderr
        assert "Traceback" not in process.stderr
        assert not (tmp_path / "build").exists()
        return process.stderr.strip()

    return compile_document


def population(document, name):
    return next(p for p in document["populations"] if p["name"] == name)


def synapse(document, source, target):
    return next(s for s in document["synapses"] if (s["source"], s["target"]) == (source, target))


def tensor(document, record, field):
    """The tensor that a population's or map's field names."""
    return document["tensors"][record[field]]


def test_a_missing_file(qac_deploy):
    process = qac_deploy("compile", "nowhere.pt")
    assert process.returncode == 2
    assert process.stderr == "error: nowhere.pt: no such file; `qac-deploy train` makes one\n"


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file(trained, qac_deploy, tmp_path, keep):
    content = trained[1].read_bytes()
    size = keep if isinstance(keep, int) else int(keep * len(content))
    (tmp_path / "bad.pt").write_bytes(content[:size])
    process = qac_deploy("compile", "bad.pt")
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: bad.pt: not a file in torch's zip format, or truncated; make one with `qac-deploy train`"
    )


def test_a_pickle_that_would_run_code_is_not_run(qac_deploy, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload()))
    torch.save({"format": Payload()}, tmp_path / "zip.pt")
    torch.save({"format": Payload()}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    for name, reason in (
        ("plain.pt", "not a file in torch's zip format"),
        ("zip.pt", "cannot be read safely as plain tensors and containers"),
        ("legacy.pt", "not a file in torch's zip format"),
    ):
        process = qac_deploy("compile", name)
        assert process.returncode == 2
        assert process.stderr.startswith(f"error: {name}: {reason}")
        assert not (tmp_path / "pwned").exists()


def test_a_whole_pytorch_module(qac_deploy, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    process = qac_deploy("compile", "module.pt")
    assert process.returncode == 2
    assert "module.pt: cannot be read safely as plain tensors and containers" in process.stderr


def test_a_state_dict_is_not_a_model(refused):
    assert refused(torch.nn.Linear(2, 2).state_dict()) == (
        "error: bad.pt: is not a model file; make one with `qac-deploy train`, or with `qac-deploy convert` "
        "from a network of another tool"
    )


REMEDY = "; make one with `qac-deploy train`, or with `qac-deploy convert` from a network of another tool"


def test_a_newer_version(document, refused):
    document |= {"version": 4, "field of it": 1}
    assert refused(document) == (
        "error: bad.pt: version must be at most 3, not 4; update qac-deploy or save the model again"
    )


def test_a_flipped_bit(trained, qac_deploy, tmp_path):
    """In the middle of the largest member: torch.load reads it as another weight."""
    content = bytearray(trained[1].read_bytes())
    with zipfile.ZipFile(trained[1]) as archive:
        member = max(archive.infolist(), key=lambda m: m.file_size)
        data = archive.read(member)
    content[content.index(data) + len(data) // 2] ^= 0x40
    (tmp_path / "bad.pt").write_bytes(content)
    assert torch.load(tmp_path / "bad.pt", weights_only=True)["format"] == "qac-deploy model"
    process = qac_deploy("compile", "bad.pt")
    assert process.returncode == 2
    assert process.stderr == (
        f"error: bad.pt: damaged: the content of member '{member.filename}' does not match its checksum; "
        f"make one with `qac-deploy train`, or with `qac-deploy convert` from a network of another tool\n"
    )


@pytest.mark.parametrize("timesteps", [0, -1, 2.5, True, "3"])
def test_timesteps_below_one_or_not_integer(document, refused, timesteps):
    population(document, "inner")["timesteps"] = timesteps
    index = document["populations"].index(population(document, "inner"))
    assert refused(document) == (
        f"error: bad.pt: populations[{index}].timesteps must be an integer of at least 1, not {timesteps!r}"
        f"{REMEDY}"
    )


def test_a_nan_weight(document, refused):
    stem_to_inner = synapse(document, "stem", "inner")
    tensor(document, stem_to_inner["maps"][0], "weight")[0, 0, 0, 0] = float("nan")
    index = document["synapses"].index(stem_to_inner)
    assert refused(document) == (
        f"error: bad.pt: the tensor of synapses[{index}].maps[0].weight must be finite, but holds NaN or "
        f"infinity{REMEDY}"
    )


def test_a_weight_of_the_wrong_shape(document, refused):
    name = synapse(document, "stem", "inner")["maps"][0]["weight"]
    document["tensors"][name] = document["tensors"][name][:, :3].clone()
    assert refused(document) == (
        "error: bad.pt: stem -> inner (conv 3x3, average): convolution weight of shape (16, 3, 3, 3) with "
        "groups=1 does not take 16 channels"
    )


def test_a_negative_threshold(document, refused):
    tensor(document, population(document, "join"), "threshold").mul_(-1)
    message = refused(document)
    assert message.startswith("error: bad.pt: join: threshold must be positive, not -")


def test_an_initial_potential_of_many_thresholds(document, refused):
    tensor(document, population(document, "join"), "initial_potential").fill_(1e300)
    assert refused(document) == (
        "error: bad.pt: join: initial_potential must be at most 1e+12 in magnitude, not 1e+300"
    )


def test_a_cycle(document, refused):
    back = dict(synapse(document, "stem", "join"), source="join", target="inner", maps=[])
    document["synapses"].append(back)
    assert refused(document) == (
        "error: bad.pt: the layer graph must be acyclic, but has the cycle inner -> join -> inner"
    )


def test_max_pooling_is_explained(document, refused):
    synapse(document, "join", "wide")["maps"][0]["kind"] = "max_pool"
    message = refused(document)
    assert (
        "maps[0].kind must be a linear map; max pooling is no map but spiking populations of role "
        "'maximum'" in message
    )


def test_a_batch_norm_is_explained(document, refused):
    synapse(document, "join", "wide")["maps"].append({"kind": "batch_norm"})
    assert "fold the batch norm into the convolution before it" in refused(document)


def test_a_missing_tensor(document, refused):
    name = population(document, "readout")["bias"]
    del document["tensors"][name]
    assert f"bias must be the name of a tensor that no other field names, not '{name}'" in refused(
        document
    )


def test_two_fields_of_one_tensor(document, refused):
    """As an earlier version wrote them where two names met: one tensor had taken another's place."""
    stem, inner = population(document, "stem"), population(document, "inner")
    inner["bias"] = stem["bias"]
    index = document["populations"].index(inner)
    assert refused(document) == (
        f"error: bad.pt: populations[{index}].bias must be the name of a tensor that no other field names, "
        f"not '{stem['bias']}'{REMEDY}"
    )


def test_a_population_without_input(document, refused):
    document["synapses"].remove(synapse(document, "input", "stem"))
    assert refused(document).startswith("error: bad.pt: stem: no synapse reaches this population")


def test_weights_too_wide_for_the_target(document, refused):
    """So many steps that no exponent keeps a membrane potential that falls in 24 bits."""
    population(document, "stem")["timesteps"] = 60_000
    message = refused(document)
    assert message.startswith("error: stem: ")
    assert "exceeds the 24-bit state" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "loihi-9"], "loihi-9"),
        (["--array", "nowhere.yaml"], "nowhere.yaml"),
        (["--data", "cifar"], "no data set is named 'cifar'; choose one of digits, mnist5k"),
        (
            ["--data", "mnist5k"],
            "samples have shape (1, 28, 28), but the network's input population",
        ),
    ],
)
def test_wrong_options_of_compile(trained, qac_deploy, arguments, message):
    process = qac_deploy("compile", trained[1], *arguments)
    assert process.returncode == 2
    assert message in process.stderr


def test_a_folder_that_is_not_a_build_is_never_replaced(trained, qac_deploy, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    process = qac_deploy("compile", trained[1], "--out", "thesis")
    assert process.returncode == 2
    assert process.stderr == (
        "error: thesis: exists and is not a build folder, so it is not replaced: it has no manifest.json "
        "(nor has one of an earlier version); remove it yourself, or choose another with --out\n"
    )
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_training_into_a_missing_folder_fails_before_it_trains(qac_deploy):
    process = qac_deploy("train", "--out", "nowhere/model.pt", timeout=120)
    assert process.returncode == 2
    assert process.stderr == "error: nowhere/model.pt: there is no folder nowhere; make it first\n"


@pytest.fixture
def build_copy(compiled, tmp_path):
    shutil.copytree(compiled[1], tmp_path / "build")
    return tmp_path / "build"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("network.json", b"{", "network.json: not valid JSON"),
        ("network.json", b"[]", "network.json: content must be a record with named fields, not []"),
        ("network.safetensors", b"\0" * 20, "network.safetensors: damaged or truncated"),
        ("report.json", b"{}", "report.json: format is missing; compile the model again"),
        ("report.json", None, "report.json: cannot be read; `qac-deploy compile model.pt` makes"),
    ],
)
def test_a_damaged_build(build_copy, qac_deploy, file, content, message):
    if content is None:
        (build_copy / file).unlink()
    else:
        (build_copy / file).write_bytes(content)
    process = qac_deploy("verify", "build")
    assert process.returncode == 2
    assert message in process.stderr


def test_a_build_with_an_impossible_threshold(build_copy, qac_deploy):
    document = json.loads((build_copy / "network.json").read_text())
    document["synapses"][0]["exponent"] = -1
    (build_copy / "network.json").write_text(json.dumps(document))
    process = qac_deploy("verify", "build")
    assert process.returncode == 2
    assert "synapses[0].exponent must be an integer of at least 0, not -1" in process.stderr


def test_more_samples_than_there_are(compiled, qac_deploy):
    process = qac_deploy("simulate", compiled[1], "--samples", 10_000)
    assert process.returncode == 2
    assert process.stderr == "error: data set 'digits' has 540 test samples, not 10000\n"


def test_lava_without_an_interpreter(compiled, qac_deploy, tmp_path):
    process = qac_deploy(
        "simulate", compiled[1], "--engine", "lava", "--lava-python", tmp_path / "nothing"
    )
    assert process.returncode == 2
    assert "nothing" in process.stderr


NAME = "n" * 300


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["compile", NAME], NAME),
        (["compile", "{model}", "--out", NAME], NAME),
        (["compile", "{model}", "--data", NAME], NAME),
        (["compile", "{model}", "--target", NAME], f"{NAME}.yaml"),
        (["compile", "{model}", "--out", ""], ". is the current folder"),
        (["report", NAME], f"{NAME}/manifest.json"),
        (["convert", NAME, "--arch", "resnet-20"], NAME),
        (["reproduce", "page", "--out", NAME], NAME),
    ],
)
def test_names_that_no_file_can_have(trained, main, arguments, where):
    status, said = main(*(part.format(model=trained[1]) for part in arguments))
    assert status == 2
    assert said.startswith("error: ")
    assert where.rpartition("/")[2] in said.replace(".:", ".")


@pytest.fixture
def main(monkeypatch, capsys, tmp_path):
    """Run a command in this process, as the installed one does; returns its exit code and error message."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["qac-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return ended.value.code, from_message(capsys.readouterr().err)

    return run


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left", "x"), "x: No space left; make room on the disk"),
        (OSError(errno.EROFS, "Read-only"), "a file or the output: Read-only; choose a place that"),
        (
            PermissionError(errno.EACCES, "Denied", "a", None, "b"),
            "a and b: Denied; choose another",
        ),
        (MemoryError("8 GiB"), "not enough memory (8 GiB); use fewer samples or a smaller network"),
    ],
)
def test_an_error_of_the_system_is_a_message(main, monkeypatch, error, message):
    monkeypatch.setattr(command_line, "app", raising(error))
    status, said = main()
    assert status == 2
    assert said.startswith(f"error: {message}")


@pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError(errno.ENOENT, "No such", "x")])
def test_a_bug_keeps_its_traceback(main, monkeypatch, error):
    monkeypatch.setattr(command_line, "app", raising(error))
    status, said = main()
    assert status == 70
    assert said.startswith("Traceback")
    assert f"{type(error).__name__}: {error}" in said


def raising(error):
    def fail(**options):
        raise error

    return fail


def test_an_output_that_is_full_and_one_without_all_characters(compiled):
    def report(stdout, **environment):
        return subprocess.run(
            [COMMAND, "report", compiled[1]],
            stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, env=environment,
        )  # fmt: skip

    with open("/dev/full", "w") as full:
        process = report(full)
    assert process.returncode == 2
    assert process.stderr == (
        "error: a file or the output: No space left on device; make room on the disk\n"
    )
    process = report(subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert process.returncode == 0
    assert "\\xd7" in process.stdout  # the sign of a product in the heading of the array's tables


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        (["compile", "x", "--samples", 10**9], "less than or equal to 10000"),
        (["compile", "x", "--slots", 10**27], "at most 1,000,000 slots"),
        (["compile", "x", "--timesteps", f"stem={10**27}"], "at most 1,000,000 timesteps"),
        (["compile", "x", "--accuracy-budget", "inf"], "less than or equal to 100"),
        (["compile", "x", "--replicate", f"stem={10**27}"], "at most 1,000,000 replicas"),
        (["verify", "x", "--samples", 10**9], "less than or equal to 10000"),
        (["cross-check", "x", "--samples", 10**9], "less than or equal to 10000"),
        (["simulate", "x", "--workers", 10**9], "less than or equal to 1024"),
        (["calibrate", "x", "--timesteps", 10**9], "less than or equal to 1024"),
        (["calibrate", "x", "--learning-rate", -1], "greater than or equal to"),
    ],
)
def test_a_number_beyond_any_use_is_refused_with_its_limit(main, arguments, limit):
    status, said = main(*arguments)
    assert status == 2
    assert limit in " ".join(said.replace("│", "").split())


def test_a_network_without_a_spiking_population_has_a_report(main, tmp_path):
    network = float_network_of(
        float_connect("input", "readout", float_dense(np.ones((3, 4)))),
        image=(1, 2, 2), max_value=15, unit=1 / 15, readout="readout", classes=3, bias=np.zeros(3),
    )  # fmt: skip
    save_checkpoint(tmp_path / "linear.pt", Checkpoint(network, {}))
    assert main("compile", "linear.pt")[0] == 0
    assert load_report(tmp_path / "build")["mean_timesteps"] == 0


@pytest.mark.parametrize(
    ("engine", "option"),
    [
        ("exact", ["--lava-python", "nothing"]),
        ("stepped", ["--device", "cuda"]),
        ("lava", ["--workers", "2"]),
        ("lava", ["--resume"]),
    ],
)
def test_an_option_of_another_engine_is_refused(compiled, main, engine, option):
    status, said = main("simulate", compiled[1], "--engine", engine, *option)
    assert status == 2
    assert option[0] in said
    assert f"does not belong to --engine {engine}" in " ".join(said.replace("│", " ").split())
