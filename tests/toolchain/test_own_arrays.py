"""Arrays and IDX files of a user: channel order, labels, and sizes that are bounded before allocation."""

from __future__ import annotations

import gzip
import io
import math
import os
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from toolchain.datasets import data_record, load_dataset, load_recorded
from toolchain.datasets.idx import read_idx
from toolchain.errors import DataError

MEBIBYTE = 2**20


def arrays(shape=(8, 8), **changes):
    parts = {"train": 6, "test": 3}
    own = {f"{p}_images": np.zeros((n, *shape), np.uint8) for p, n in parts.items()}
    own |= {f"{p}_labels": np.arange(n) % 3 for p, n in parts.items()}
    return {name: array for name, array in {**own, **changes}.items() if array is not None}


def saved(tmp_path, **fields):
    path = tmp_path / "own.npz"
    np.savez(path, **fields)
    return str(path)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ((8, 8), (1, 8, 8)),
        ((3, 32, 32), (3, 32, 32)),
        ((2, 34, 34), (2, 34, 34)),
        ((16, 4, 4), (16, 4, 4)),
        ((64, 1, 1), (64, 1, 1)),
        ((3, 1, 1), (3, 1, 1)),
        ((1, 1, 1), (1, 1, 1)),
        ((1, 1, 100), (1, 1, 100)),
        ((3, 4, 4), (3, 4, 4)),
        ((8, 8, 1), (1, 8, 8)),
        ((32, 32, 3), (3, 32, 32)),
        ((30, 40, 4), (4, 30, 40)),
    ],
)
def test_the_channel_axis(tmp_path, stored, read):
    dataset = load_dataset(saved(tmp_path, **arrays(stored)))
    assert dataset.input_shape == read
    assert bool(dataset.notes) == (stored != read and len(stored) == 3)


def test_channels_in_the_last_axis_are_moved_and_said(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), dtype=np.uint8)
    own = arrays(train_images=images, test_images=images[:3])
    dataset = load_dataset(saved(tmp_path, **own))
    assert np.array_equal(dataset.train_pixels, images.transpose(0, 3, 1, 2))
    assert dataset.notes[0] == (
        "train_images of shape (6, 10, 12, 3) is read as 10 x 12 pixels with 3 channel(s)"
        ', the last axis; if that is wrong, store layout="NCHW" in the file'
    )
    stated = load_dataset(saved(tmp_path, **own, layout="NCHW"))
    assert stated.input_shape == (10, 12, 3)
    assert stated.notes == ()


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 28, 1), (3, 32, 3), (4, 2, 3)])
def test_an_order_that_the_shape_leaves_open_is_asked_for(tmp_path, shape):
    with pytest.raises(DataError) as refusal:
        load_dataset(saved(tmp_path, **arrays(shape)))
    assert str(refusal.value) == (
        f"{tmp_path}/own.npz: train_images of shape {(6, *shape)} may have its channels first or last; store "
        f'layout="NCHW" in the file if they are first, or layout="NHWC" if they are last, which is '
        f"np.transpose(images, (0, 3, 1, 2)) with the channels first"
    )
    for layout, read in (("NCHW", shape), ("NHWC", (shape[2], *shape[:2]))):
        dataset = load_dataset(saved(tmp_path, **arrays(shape), layout=layout))
        assert dataset.input_shape == read


def test_pixels_of_16_bits_keep_their_range(tmp_path):
    images = np.full((6, 8, 8), 40_000, ">u2")
    dataset = load_dataset(saved(tmp_path, **arrays(train_images=images, test_images=images[:3])))
    assert dataset.max_value == 65_535
    assert dataset.train_pixels.dtype == np.uint16
    assert (dataset.train_pixels == 40_000).all()


def test_pixels_of_12_bits_in_a_type_of_16(tmp_path):
    images = np.full((6, 8, 8), 4_000, np.uint16)
    own = arrays(train_images=images, test_images=images[:3])
    assert load_dataset(saved(tmp_path, **own, max_value=4_095)).max_value == 4_095
    for wrong in (3_999, 65_536):
        with pytest.raises(
            DataError, match="at least the largest pixel, 4,000, and at most 65,535"
        ):
            load_dataset(saved(tmp_path, **own, max_value=wrong))


ONE_HOT = np.eye(3)[np.arange(6) % 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": ONE_HOT}, "train_labels is one-hot, of shape (6, 3); store the numbers of the"),
        ({"train_labels": ONE_HOT.astype(bool)}, "store the numbers of the classes: labels.argmax(axis=1)"),
        ({"train_labels": np.arange(6) % 3 + 0.0}, "not float64; store them with labels.astype(np.int64)"),
        ({"train_labels": np.arange(6) / 3}, "not float64; only classes can be learned, numbered from 0"),
        ({"train_labels": np.array(list("abcabc"))}, "np.unique(labels, return_inverse=True)[1]"),
        ({"train_labels": np.arange(6) - 1}, "train_labels holds -1, but classes are numbered from 0"),
        ({"train_labels": np.full(6, 2**63, np.uint64)}, "holds 9223372036854775808; number the classes"),
        ({"train_labels": np.arange(12).reshape(6, 2)}, "must have shape (B,), or (B, H, W) for one class"),
        (
            {"test_labels": np.array([0, 1, 10**6])},
            "test_labels holds 1,000,000, which implies 1,000,001 classes for 9 labels; number the classes "
            "from 0 without gaps, or add an array num_classes to the file",
        ),
        ({"num_classes": np.array(2)}, "train_labels holds 2, but there are 2 classes, 0 to 1"),
        ({"num_classes": np.array([3])}, "num_classes must be one integer from 1 to 16,777,216"),
        ({"num_classes": np.array(10**12)}, "num_classes must be one integer from 1 to 16,777,216"),
        ({"layout": np.array("HWC")}, "layout must be one of the texts NCHW, NHWC"),
        (
            {"train_images": np.full((6, 8, 8), 0.5)},
            "not float64; store (images * 255).round().astype(np.uint8)",
        ),
        ({"train_images": np.full((6, 8, 8), 200)}, "int64; store images.round().astype(np.uint8)"),
        ({"train_images": np.full((6, 8, 8), -1.5)}, "its values are -1.5 to -1.5: scale them to 0 to 255"),
        ({"test_images": np.zeros((3, 8, 8), np.uint16)}, "train_images are uint8, but test_images uint16"),
        ({"train_images": np.zeros((6, 0, 8), np.uint8)}, "without empty axes, not (6, 0, 8)"),
        ({"train_labels": np.zeros((6, 8, 8), int)}, "labels of a training image have shape (8, 8), of a"),
    ],
)  # fmt: skip
def test_what_arrays_imply_is_checked(tmp_path, change, message):
    with pytest.raises(DataError) as refusal:
        load_dataset(saved(tmp_path, **arrays(**change)))
    assert str(refusal.value).startswith(f"{tmp_path}/own.npz: ")
    assert message in str(refusal.value)


def test_a_column_of_labels_is_the_labels(tmp_path):
    own = arrays()
    dataset = load_dataset(saved(tmp_path, **arrays(train_labels=own["train_labels"][:, None])))
    assert dataset.train_labels.tolist() == own["train_labels"].tolist()


def test_one_class_per_pixel_passes_unharmed(tmp_path):
    masks = np.random.default_rng(0).integers(0, 4, (6, 4, 5), dtype=np.uint8)
    dataset = load_dataset(saved(tmp_path, **arrays(train_labels=masks, test_labels=masks[:3])))
    assert np.array_equal(dataset.train_labels, masks)
    assert np.array_equal(dataset.test_labels, masks[:3])
    assert dataset.num_classes == 4
    assert "4 classes in label maps of 4 x 5" in dataset.description


def test_classes_that_never_occur_are_said(tmp_path):
    labels = np.array([0, 4, 4, 0, 4, 0])
    dataset = load_dataset(saved(tmp_path, **arrays(train_labels=labels)))
    assert dataset.notes == ("classes that no training image has: 3 of 5 (1, 2, 3)",)
    dataset = load_dataset(
        saved(tmp_path, **arrays(train_labels=labels, num_classes=np.array(1_000)))
    )
    assert dataset.num_classes == 1_000
    assert dataset.notes == (
        "classes that no training image has: 998 of 1,000 (1, 2, 3, 5, 6, ...)",
    )


def test_a_data_set_describes_itself_in_one_line(tmp_path):
    dataset = load_dataset(saved(tmp_path, **arrays()))
    assert dataset.description == (
        f"data set {tmp_path}/own.npz: 6 training and 3 test images of 1 x 8 x 8, pixels 0..255, 3 classes; "
        f"SHA-256 of the test samples {dataset.test_sha256[:12]}"
    )


def npy(shape, dtype="|u1", data=b""):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def archive(tmp_path, **members):
    path = tmp_path / "own.npz"
    own = {}
    for name, array in arrays().items():
        file = io.BytesIO()
        np.save(file, array)
        own[name] = file.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {**own, **members}.items():
            file.writestr(f"{name}.npy", content)
    return str(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (npy((6, 3, 10**6, 10**6)), "needs 18,000,000,000,000 bytes, but the file holds 0; save it again"),
        (npy((6, 8, 8), data=b"\0" * (16 * MEBIBYTE)), "needs 384 bytes, but the file holds 16,777,216"),
        (npy((-6, -64), data=b"\0" * 384), "of shape (-6, -64) and type uint8 needs 384 bytes, but"),
        (npy((6, 8, 8), "|O", b"\0" * 3_072), "cannot be read as .npz without pickles: train_images holds"),
        (
            b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * MEBIBYTE,
            "without pickles: the header of train_images has 2,147,483,648 bytes",
        ),
        (b"\x93NUMPY\x07\x00" + b" " * 100, "train_images does not begin as an array of numpy does"),
        (b"", "train_images does not begin as an array of numpy does"),
    ],
)  # fmt: skip
def test_an_array_is_what_its_header_says_before_it_is_read(tmp_path, header, message):
    path = archive(tmp_path, train_images=header)
    with pytest.raises(DataError) as refusal:
        refused_in_little_memory(lambda: load_dataset(path))
    assert message in str(refusal.value)


def refused_in_little_memory(read):
    tracemalloc.start()
    try:
        read()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * MEBIBYTE


def test_a_compressed_array_above_the_limit_is_not_unpacked(tmp_path, monkeypatch):
    """A few kilobytes that hold what they say; the limit has one way up, in Python and in the shell."""
    images = npy((8, 3, 1_024, 1_024), data=bytes(24 * MEBIBYTE))
    path = archive(tmp_path, train_images=images, train_labels=npy((8,), data=bytes(8)))
    with pytest.raises(
        DataError, match=r"own.npz: its arrays would take 25,166,\d+ bytes of"
    ) as refusal:
        refused_in_little_memory(lambda: load_dataset(path, limit_bytes=20 * MEBIBYTE))
    assert "add --limit-bytes 25166" in str(refusal.value)
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", str(20 * MEBIBYTE))
    with pytest.raises(DataError, match="above the limit of 20,971,520"):
        load_dataset(path)
    with pytest.raises(DataError, match=r"training images are \(3, 1024, 1024\), test images"):
        load_dataset(path, limit_bytes=32 * MEBIBYTE)
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", "4 GiB")
    with pytest.raises(
        DataError, match="LIMIT_BYTES must be a positive number of bytes, not '4 GiB'"
    ):
        load_dataset(path)


def idx(array, shape=None):
    shape = array.shape if shape is None else shape
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("size", [0, 100, 16 * MEBIBYTE])
def test_a_compressed_idx_file_is_unpacked_within_the_limit_and_its_header(tmp_path, size):
    """The declared 6.5 GB are not taken, nor is more unpacked than a header says."""
    content = np.zeros(size, np.uint8)
    shape = (8_290_816, 28, 28)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(content, shape), 1))
    with pytest.raises(DataError) as refusal:
        refused_in_little_memory(lambda: read_idx(path, 4 * 2**30))
    assert f"its array of 8290816 x 28 x 28 would take {math.prod(shape):,} bytes" in str(
        refusal.value
    )
    path.write_bytes(gzip.compress(idx(content, (50,)), 1))
    with pytest.raises(
        DataError, match="its header says 50 bytes of data, but it holds"
    ) as refusal:
        refused_in_little_memory(lambda: read_idx(path, 4 * 2**30))
    assert str(refusal.value).endswith(f"holds {'more' if size else '0'}; get the file again")


def test_a_damaged_name_is_no_missing_array(tmp_path):
    """zipfile cuts a name at NUL, so that ``num_classes`` would be one more array that is not read."""
    path = Path(saved(tmp_path, **arrays(), num_classes=7))
    content = path.read_bytes()
    place = content.rindex(b"num_classes.npy")
    path.write_bytes(content[: place + 10] + b"\0" + content[place + 11 :])
    with pytest.raises(DataError, match="without pickles: File name in directory 'num_classe"):
        load_dataset(str(path))


def test_an_array_that_is_there_twice(tmp_path):
    path = archive(tmp_path)
    with zipfile.ZipFile(path, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("test_labels.npy", npy((3,), data=b"\0" * 3))
    with pytest.raises(DataError, match="without pickles: it holds an array twice"):
        load_dataset(path)


def test_arrays_that_are_not_read_are_named(tmp_path):
    dataset = load_dataset(saved(tmp_path, **arrays(), num_clases=7, more=1))
    assert dataset.notes == ("arrays that are not read: num_clases, more",)


def test_far_more_declared_classes_than_images(tmp_path):
    """A file of 2 kB would ask for a network of gigabytes."""
    assert load_dataset(saved(tmp_path, **arrays(), num_classes=65_539)).num_classes == 65_539
    with pytest.raises(DataError, match="65,540 classes, of which 65,537 have no training image"):
        load_dataset(saved(tmp_path, **arrays(), num_classes=65_540))


def test_a_pipe_is_no_data_file(tmp_path):
    """Opening it would wait for a writer."""
    os.mkfifo(tmp_path / "own.npz")
    with pytest.raises(DataError, match=r"own.npz: is no regular file; choose a file of numpy"):
        load_dataset(str(tmp_path / "own.npz"))


def test_an_idx_file_of_many_axes(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(b"\0\0\x08\xff" + b"\xff" * 1_020)
    with pytest.raises(DataError, match="has 255 axes, but images have 3 or 4 and labels 1 to 3"):
        read_idx(path, 2**30)


def test_what_a_library_quotes_of_a_file_is_cut(tmp_path):
    """zipfile names a damaged member, whose name may be 64 kB long and hold anything."""
    path = Path(saved(tmp_path, **arrays()))
    content = bytearray(path.read_bytes())
    content[26:28] = (40_000).to_bytes(2, "little")  # length of the first member's name
    path.write_bytes(content + b"\x1b" * 40_000)
    with pytest.raises(DataError) as refusal:
        load_dataset(str(path))
    assert len(str(refusal.value)) < len(str(path)) + 300
    assert str(refusal.value).isprintable()


def test_a_sparse_file_of_records_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("QAC_DEPLOY_DATA", str(tmp_path))
    (tmp_path / "cifar-10").mkdir()
    for name in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]:
        with (tmp_path / "cifar-10" / name).open("wb") as file:
            file.truncate(3_073 * 2**22)
    with pytest.raises(
        DataError, match=r"data_batch_1.bin: its records would take 12,889,\d+,\d+ bytes"
    ):
        refused_in_little_memory(lambda: load_dataset("cifar-10"))


def test_a_folder_of_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (count, 9, 7)), np.arange(count) % 5
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    dataset = load_dataset(str(tmp_path))
    assert dataset.name == str(tmp_path)
    assert dataset.input_shape == (1, 9, 7)
    assert dataset.num_classes == 5
    assert np.array_equal(dataset.test_pixels[:, 0], images)
    record = data_record(dataset, tmp_path / "model.pt")
    assert load_recorded(record, tmp_path / "model.pt")[1] is None
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz: no such file; put it there"):
        load_dataset(str(tmp_path))
