"""Image files: which are read, to which pixels, and which are refused by name before training."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from toolchain.datasets import load_dataset
from toolchain.errors import DataError

SIDE = 224  # images of this size are resized to 256 pixels, and cropped to 224 again


def folder_of(root, *images, suffix=".png"):
    """A data set whose training and test images are the given ones, as encoded bytes or of Pillow."""
    for part in ("train", "test"):
        folder = root / part / "only"
        folder.mkdir(parents=True)
        for index, image in enumerate(images):
            content = image if isinstance(image, bytes) else encoded(image)
            (folder / f"{index}{suffix}").write_bytes(content)
    return str(root)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def plain(value, mode="L", size=(8, 8)):
    return Image.new(mode, size, value)


def centre_of(dataset, index=0):
    return dataset.test_pixels[index : index + 1][0, :, SIDE // 2, SIDE // 2].tolist()


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (plain(200), [200] * 3),
        (plain(1, "1"), [255] * 3),
        (plain((9, 8, 7), "RGB").quantize(4), [9, 8, 7]),
        (plain((200, 255), "LA"), [200] * 3),
        (plain((200, 0), "LA"), [0] * 3),
        (plain((10, 200, 30, 51), "RGBA"), [2, 40, 6]),
        (encoded(plain((0, 255, 255, 0), "CMYK"), "JPEG", quality=95), [255, 0, 0]),
        (encoded(plain((9, 8, 7), "RGB"), "BMP"), [9, 8, 7]),
        (encoded(plain((9, 8, 7), "RGB"), "WEBP", lossless=True), [9, 8, 7]),
    ],
    ids=["grey", "1-bit", "palette", "opaque", "invisible", "RGBA", "CMYK", "BMP", "WEBP"],
)
def test_every_mode_becomes_rgb_of_8_bits(tmp_path, image, pixel):
    dataset = load_dataset(folder_of(tmp_path, image))
    assert dataset.max_value == 255
    assert centre_of(dataset) == pixel


def test_transparency_is_said(tmp_path):
    images = [plain(200), plain((200, 9), "LA"), encoded(plain(7), transparency=7)]
    dataset = load_dataset(folder_of(tmp_path, *images))
    assert dataset.notes == ("images with transparency, drawn on black: 4",)
    assert [centre_of(dataset, n)[0] for n in range(3)] == [200, 7, 0]


def test_grey_images_keep_16_bits(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65_536, (256, 256), dtype=np.uint16)
    dataset = load_dataset(folder_of(tmp_path, Image.fromarray(pixels)))
    assert dataset.max_value == 65_535
    read = dataset.test_pixels[:1]
    assert read.dtype == np.uint16
    assert np.array_equal(read[0], np.stack([pixels[16:240, 16:240]] * 3))
    assert "pixels 0..65535" in dataset.description


def test_a_resized_image_of_16_bits_is_not_clipped(tmp_path):
    dataset = load_dataset(folder_of(tmp_path, Image.fromarray(np.full((9, 5), 60_001, np.uint16))))
    assert (dataset.test_pixels[:1] == 60_001).all()


def test_a_folder_of_two_depths_is_refused_with_two_files(tmp_path):
    deep = Image.fromarray(np.zeros((8, 8), np.uint16))
    folder = folder_of(tmp_path, plain(3), plain(4), deep)
    with pytest.raises(DataError) as refusal:
        load_dataset(folder)
    assert str(refusal.value) == (
        f"{tmp_path}: train/only/2.png has 16 bits per channel, but train/only/0.png has 8; save all images "
        f"with one depth"
    )


def png(*chunks):
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    return content


def png_of(width, height, depth, colour, rows):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(rows)))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits_are_refused_as_pillow_reduces_them(tmp_path, colour, channels):
    content = png_of(8, 8, 16, colour, (b"\0" + b"\x12\x34" * channels * 8) * 8)
    assert Image.open(io.BytesIO(content)).mode in ("RGB", "LA", "RGBA")
    with pytest.raises(
        DataError, match=r"0.png: PNG of 16 bits with colours or transparency, .*uint16"
    ):
        load_dataset(folder_of(tmp_path, content))


def test_an_image_is_turned_as_its_orientation_says(tmp_path):
    pixels = np.zeros((256, 256), np.uint8)
    pixels[:128] = 200
    tags = Image.Exif()
    tags[0x0112] = 8  # the first row is on the left
    images = [encoded(Image.fromarray(pixels), kind, exif=tags) for kind in ("PNG", "WEBP")]
    images += [encoded(Image.fromarray(pixels.astype(np.uint16) * 200), exif=tags)]
    for index, image in enumerate(images):
        root = tmp_path / str(index)
        read = load_dataset(folder_of(root, image)).test_pixels[:1][0, 0]
        assert read[:, :100].min() > 190
        assert read[:, 124:].max() < 10


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "GIF", "PPM"])
def test_what_is_read_is_decided_by_the_content_and_not_by_the_name(tmp_path, monkeypatch, kind):
    """Pillow would pass an EPS file to Ghostscript, which executes its content."""

    def fail(*arguments, **options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", fail)
    folder = folder_of(tmp_path, plain(1), encoded(plain(1), kind))
    with pytest.raises(
        DataError, match=r"1.png: not an image in one of the formats JPEG, PNG, BMP, WEBP; remove"
    ):
        load_dataset(folder)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(tmp_path, kind):
    content = encoded(plain(1), kind, save_all=True, append_images=[plain(200)])
    with pytest.raises(DataError, match=f"0.png: {kind} of 2 frames; save the frame to use"):
        load_dataset(folder_of(tmp_path, content))


def test_the_previews_in_a_photograph_are_left_out(tmp_path):
    content = encoded(plain(100), "MPO", save_all=True, append_images=[plain(200)])
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert centre_of(load_dataset(folder_of(tmp_path, content))) == [100] * 3


def test_files_that_are_no_images_are_counted(tmp_path):
    folder = folder_of(tmp_path, plain(1))
    (tmp_path / "train" / "only" / ".hidden").touch()
    (tmp_path / "train" / "only" / "notes.txt").touch()
    (tmp_path / "test" / "only" / "folder.png").mkdir()
    (note,) = load_dataset(folder).notes
    assert note == "skipped, not named as images: 2, such as train/only/notes.txt"


def test_a_folder_of_another_format_says_which_are_read(tmp_path):
    folder = folder_of(tmp_path, encoded(plain(1), "TIFF"), suffix=".tif")
    with pytest.raises(DataError) as refusal:
        load_dataset(folder)
    assert str(refusal.value) == (
        f"{tmp_path}/train: there is no image in its class folders, but other files, such as "
        f"{tmp_path}/train/only/0.tif; give images in one of the formats JPEG, PNG, BMP, WEBP, named .bmp, "
        f".jpeg, .jpg, .png, .webp"
    )


def test_an_image_is_not_resized_beyond_the_limit(tmp_path, monkeypatch):
    """88 bytes, whose shorter side of one pixel would become 256, and the longer 16,768,000."""
    content = png_of(65_500, 1, 1, 0, b"\0" * 8_189)
    assert len(content) == 88
    folder = folder_of(tmp_path, content)
    with pytest.raises(DataError) as refusal:
        load_dataset(folder)
    assert str(refusal.value) == (
        f"{tmp_path}/train/only/0.png: the image of 65,500 x 1 pixels, resized to 16,768,000 x 256, would "
        f"take 17,170,432,000 bytes of memory, above the limit of 4,294,967,296; if the file is right, add "
        f"--limit-bytes 17170432000, or in Python pass limit_bytes=17170432000 to load_dataset"
    )
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", "17170432000")
    assert len(load_dataset(folder).test_labels) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-19] + b"\x55" + content[-18:], "chunk IDAT does not match its checksum"),
        (lambda content: content[:-6], "it ends within a chunk"),
    ],
)  # fmt: skip
def test_a_damaged_png_is_refused(tmp_path, change, message):
    """Pillow skips the checksums of pixels, and would give others without a word."""
    rows = np.random.default_rng(0).integers(0, 256, (8, 9), np.uint8)
    rows[:, 0] = 0
    content = png_of(8, 8, 8, 0, rows.tobytes())
    dataset = load_dataset(folder_of(tmp_path, change(content)))
    with pytest.raises(DataError, match=message):
        dataset.test_pixels[:1]


def test_only_our_limit_applies(tmp_path):
    """Pillow's own would warn from 89 million pixels on, refuse twice as many, and not be raised."""
    folder = folder_of(tmp_path, png_of(20_000, 10_000, 1, 0, b"\0" * 100))
    with pytest.raises(DataError, match="its 20,000 x 10,000 pixels would take 800,000,000 bytes"):
        load_dataset(folder, limit_bytes=10**8)
    assert len(load_dataset(folder, limit_bytes=10**9).test_labels) == 1


def test_a_large_photograph_is_refused_before_it_is_decoded(tmp_path):
    """Headers of JPEG files are read late, but still before memory is taken."""
    content = encoded(plain(1, size=(40, 30)), "JPEG")
    frame = content.index(b"\xff\xc0")
    content = content[: frame + 5] + struct.pack(">HH", 9_000, 9_000) + content[frame + 9 :]
    dataset = load_dataset(folder_of(tmp_path, content), limit_bytes=10**6)
    with pytest.raises(
        DataError, match="its 9,000 x 9,000 pixels would take 324,000,000 bytes of mem"
    ):
        dataset.test_pixels[:1]
