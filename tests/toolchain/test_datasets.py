"""Readers of data sets, on files written here byte by byte and on damaged ones."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from small_networks import two_neurons

from toolchain.datasets import data_record, load_dataset, load_recorded
from toolchain.datasets.idx import read_idx
from toolchain.errors import DataError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture(autouse=True)
def data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("QAC_DEPLOY_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_fashion_mnist(folder, compress):
    folder.mkdir()
    random = np.random.default_rng(0)
    written = {}
    for part, count in (("train", 30), ("t10k", 20)):
        images, labels = random.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for name, array in (
            (f"{part}-images-idx3-ubyte", images),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            content = gzip.compress(idx(array)) if compress else idx(array)
            (folder / (name + ".gz" * compress)).write_bytes(content)
            written[name] = array
    return written


@pytest.mark.parametrize("compress", [True, False])
def test_fashion_mnist_from_idx_files(data_root, compress):
    written = write_fashion_mnist(data_root / "fashion-mnist", compress)
    dataset = load_dataset("fashion-mnist")
    assert dataset.input_shape == (1, 28, 28)
    assert np.array_equal(dataset.train_pixels[:, 0], written["train-images-idx3-ubyte"])
    assert np.array_equal(dataset.test_labels, written["t10k-labels-idx1-ubyte"])


def test_missing_data_says_where_to_get_it_and_where_to_put_it(data_root, monkeypatch):
    with pytest.raises(DataError) as refusal:
        load_dataset("cifar-10")
    assert str(refusal.value) == (
        f"data set 'cifar-10' is not on this machine: no test_batch.bin in {data_root}/cifar-10, "
        f"{data_root}/.local/share/qac-deploy/cifar-10. Download the *binary version* "
        f"(cifar-10-binary.tar.gz) of cs.toronto.edu/~kriz/cifar.html and unpack it, and put its files "
        f"into {data_root}/cifar-10 (or name the parent folder in QAC_DEPLOY_DATA)"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file of unsigned bytes"),
        (idx(np.zeros((2, 3)))[:-1], "its header says 6 bytes of data, but it holds 5"),
        (idx(np.zeros((2, 3))) + b"0", "its header says 6 bytes of data, but it holds 7"),
        (idx(np.zeros((2, 3)))[:6], "ends within its header"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file of unsigned bytes"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "its header says 79,228,162,458,924,105"),
    ],
)
def test_a_damaged_idx_file(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: ") as refusal:
        read_idx(path, 2**30)
    assert message in str(refusal.value)


def test_a_truncated_compressed_file(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((20, 30))))[:-9])
    with pytest.raises(DataError, match=r"images.gz: cannot be read"):
        read_idx(path, 2**30)


def test_cifar_10_records(data_root):
    folder = data_root / "cifar-10"
    folder.mkdir()
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 4, 3, 32, 32), dtype=np.uint8)
    for index, name in enumerate([*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]):
        records = [bytes([index]) + image.tobytes() for image in pixels[index]]
        (folder / name).write_bytes(b"".join(records))
    dataset = load_dataset("cifar-10")
    assert dataset.input_shape == (3, 32, 32)
    assert np.array_equal(dataset.train_pixels[:], pixels[:5].reshape(20, 3, 32, 32))
    assert dataset.train_labels.tolist() == [n for n in range(5) for _ in range(4)]
    (folder / "test_batch.bin").write_bytes(b"\0" * 3072)
    with pytest.raises(
        DataError, match=r"test_batch.bin: 3,072 bytes are no whole number of 3,073"
    ):
        load_dataset("cifar-10")


def test_cifar_100_takes_the_fine_label(data_root):
    folder = data_root / "cifar-100"
    folder.mkdir()
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(bytes([7, 93]) + b"\x05" * 3072)
    dataset = load_dataset("cifar-100")
    assert dataset.test_labels.tolist() == [93]
    assert (dataset.test_pixels[:] == 5).all()


ARRAYS = {
    "train_images": np.zeros((4, 8, 8), np.uint8),
    "train_labels": np.arange(4),
    "test_images": np.zeros((2, 8, 8), np.uint8),
    "test_labels": np.array([3, 0]),
}


def test_npz_arrays(tmp_path):
    np.savez(tmp_path / "own.npz", **ARRAYS)
    dataset = load_dataset(str(tmp_path / "own.npz"))
    assert dataset.input_shape == (1, 8, 8)
    assert dataset.num_classes == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": None}, "has no array named train_images"),
        ({"test_images": np.zeros((2, 8, 8))}, "test_images must be uint8 .*not float64"),
        ({"test_images": np.zeros(2, np.uint8)}, "must have shape"),
        ({"test_labels": np.array([0.5, 1])}, "test_labels must be integers"),
        ({"test_labels": np.array([0])}, "2 test images but 1 labels"),
        (
            {"test_labels": np.array([0, -1])},
            "test_labels holds -1, but classes are numbered from 0",
        ),
        ({"test_images": np.zeros((2, 9, 9), np.uint8)}, "training images are .*test images"),
        ({"train_labels": np.array([object()] * 4)}, "without pickles"),
    ],
)
def test_a_bad_npz_names_the_field(tmp_path, change, message):
    arrays = {k: v for k, v in {**ARRAYS, **change}.items() if v is not None}
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_dataset(str(tmp_path / "own.npz"))


def test_a_pickle_named_npz_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    (tmp_path / "own.npz").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match=r"cannot be read as .npz"):
        load_dataset(str(tmp_path / "own.npz"))
    assert not (tmp_path / "pwned").exists()


def test_an_image_folder_is_decoded_when_asked_for(tmp_path):
    from PIL import Image

    for part in ("train", "val"):
        for label, colour in enumerate([(255, 0, 0), (0, 0, 255)]):
            folder = tmp_path / part / f"class{label}"
            folder.mkdir(parents=True)
            Image.new("RGB", (300, 500), colour).save(folder / "a.png")
            Image.new("RGB", (90, 30), colour).save(folder / "b.jpg")
    dataset = load_dataset(str(tmp_path))
    assert dataset.input_shape == (3, 224, 224)
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]
    assert dataset.test_pixels[np.array([0, 2])][:, :, 5, 5].tolist() == [[255, 0, 0], [0, 0, 255]]
    (tmp_path / "val" / "class1" / "a.png").write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"a.png: not an image in one of the formats JPEG, PNG, BMP"
    ):
        dataset.test_pixels[2:3]
    whole = (tmp_path / "val" / "class0" / "a.png").read_bytes()
    (tmp_path / "val" / "class1" / "a.png").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"a.png: cannot be decoded"):
        dataset.test_pixels[2:3]
    (tmp_path / "val" / "class7").mkdir()
    with pytest.raises(
        DataError,
        match=r"must have the same classes as the training images, but differs in .*class7",
    ):
        load_dataset(str(tmp_path))


def test_a_single_array_named_npz(tmp_path):
    with (tmp_path / "own.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"own.npz: cannot be read as .npz without pickles"):
        load_dataset(str(tmp_path / "own.npz"))


def write_images(folder, colour):
    from PIL import Image

    for part in ("train", "test"):
        (folder / part / "only").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(folder / part / "only" / "a.png")


def test_a_recorded_data_set_is_found_again_wherever_it_lies_with_its_holder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    np.savez("own.npz", **ARRAYS)
    write_images(tmp_path / "here" / "images", (9, 8, 7))
    for name in ("own.npz", "images", "digits"):
        record = data_record(load_dataset(name), Path("models/model.pt"))
        assert record["data"] == {"digits": "digits"}.get(name, f"../{name}")
        assert load_recorded(record, Path("models/model.pt"))[1] is None
    moved = tmp_path / "there"
    (tmp_path / "here").rename(moved)
    monkeypatch.chdir(tmp_path)
    record = {"data": "../own.npz"}
    assert len(load_recorded(record, moved / "models" / "model.pt")[0].test_labels) == 2


@pytest.mark.parametrize("change", ["pixel", "label", "image"])
def test_one_changed_sample_is_noticed(tmp_path, change):
    holder, own, images = tmp_path / "model.pt", tmp_path / "own.npz", tmp_path / "images"
    np.savez(own, **ARRAYS)
    write_images(images, (9, 8, 7))
    path = images if change == "image" else own
    record = data_record(load_dataset(str(path)), holder)
    assert load_recorded(record, holder)[1] is None
    write_images(images, (9, 8, 6))
    other = {name: array.copy() for name, array in ARRAYS.items()}
    if change == "pixel":
        other["test_images"][1, 7, 7] = 1
    if change == "label":
        other["test_labels"][0] = 2
    np.savez(own, **other)
    note = load_recorded(record, holder)[1]
    assert note.startswith(f"data set {path} has changed since {holder} was made: SHA-256 of its")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "model.pt: names no data set"),
        (7, "model.pt: names no data set"),
        ("gone.npz", "data set 'gone.npz', which .*model.pt names, is not in .* nor .; choose one"),
        ("a\0b", "is not in .*; choose one with --data"),
        ("/dev/zero", "data set 'zero', which .*model.pt names, is not in /dev; choose one"),
        ("/etc/hostname", "no data set is named '/etc/hostname'; choose one of digits"),
    ],
)
def test_a_record_is_only_ever_read_as_a_data_set(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        load_recorded({"data": name}, tmp_path / "model.pt")


def test_a_data_set_named_by_hand_gets_its_digest_when_the_model_is_saved(tmp_path, monkeypatch):
    """Saved and compiled in different folders, the file is found again, and a change of it is noticed."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", **ARRAYS)
    np.savez("models/beside.npz", **ARRAYS)
    for name, stored in (("own.npz", "../own.npz"), ("beside.npz", "beside.npz")):
        model = Path("models/model.pt")
        save_checkpoint(model, Checkpoint(two_neurons(), {"data": name, "epochs": 3}))
        training = load_checkpoint(model).training
        expected = load_dataset(str(tmp_path / "own.npz")).test_sha256
        assert training == {"data": stored, "epochs": 3, "data_sha256": expected}
        monkeypatch.chdir("/")
        dataset, changed = load_recorded(training, tmp_path / model)
        assert (len(dataset.test_labels), changed) == (2, None)
        monkeypatch.chdir(tmp_path)
    np.savez("models/beside.npz", **{**ARRAYS, "test_labels": np.array([3, 1])})
    assert "beside.npz has changed since" in load_recorded(training, model)[1]
    for training in (
        {"data": "gone.npz"},
        {"data": 7},
        {"data": "own.npz", "data_sha256": "0"},
        {},
    ):
        save_checkpoint(model, Checkpoint(two_neurons(), training))
        assert load_checkpoint(model).training == training
