"""Options of ``qac-deploy convert``, and which format each belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.convert.recognise import Format
from toolchain.errors import OptionError
from toolchain.importers.qcfs_format.importing import NORMALIZATIONS
from toolchain.importers.torch_module import Normalization

DEFAULT_MAX_VALUE = 255
PIXELS = "pixels"
"""Name of the normalization of a network that takes pixels as they are, without a division."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a user chooses; None means that nothing was chosen.

    Attributes:
        data: the data set that gives the shape of an image, and samples to compare and calibrate on.
        normalize: a name, ``none``, ``pixels``, or ``MEANS/STDS``.
        input_shape: (channels, height, width) of an image, where neither file nor data set says it.
        max_value: largest pixel, without a data set.
        arch, levels, classes, image: of a QCFS checkpoint.
        reset, timesteps, dt: of a NIR graph.
        mean_timesteps, samples, finetune: of the post-training conversion of a plain ReLU network.
    """

    data: str | None = None
    normalize: str | None = None
    input_shape: tuple[int, int, int] | None = None
    max_value: int | None = None
    arch: str | None = None
    levels: int | None = None
    classes: int | None = None
    image: int | None = None
    reset: str | None = None
    timesteps: int | None = None
    dt: float | None = None
    mean_timesteps: float | None = None
    samples: int | None = None
    finetune: int | None = None

    def require_of(self, file_format: Format) -> None:
        """Refuse an option that means nothing for a format, instead of ignoring it.

        Raises:
            OptionError: naming the option and the formats it belongs to.
        """
        for formats, names in _OPTIONS_OF:
            given = [name for name in names if getattr(self, name) is not None]
            if given and file_format not in formats:
                belongs = " or ".join(known.value for known in formats)
                raise OptionError(
                    f"--{given[0].replace('_', '-')} belongs to {belongs}, and this is {file_format.value}; "
                    f"leave it out"
                )


_FLOAT_NETWORKS = (Format.ONNX, Format.EXPORTED, Format.MODULE)
_OPTIONS_OF: tuple[tuple[tuple[Format, ...], tuple[str, ...]], ...] = (
    ((Format.STATE_DICT,), ("arch", "levels", "classes", "image")),
    ((Format.NIR,), ("reset", "timesteps", "dt")),
    (_FLOAT_NETWORKS, ("mean_timesteps", "samples", "finetune")),
    ((*_FLOAT_NETWORKS, Format.NIR), ("input_shape", "max_value")),
)


def normalization_of(text: str | None, max_value: int) -> Normalization | None:
    """What a network takes: ``(pixels / max_value - mean) / std``.

    Args:
        text: a name of ``NORMALIZATIONS``, ``none`` for ``pixels / max_value``, ``pixels`` for pixels
            themselves, or means and standard deviations, such as ``0.286/0.353``, one for each channel.

    Raises:
        OptionError: it is none of these.
    """
    if text is None or text == "none":
        return None
    if text == PIXELS:
        return Normalization(mean=(0.0,), std=(1 / max_value,))
    if text in NORMALIZATIONS:
        return NORMALIZATIONS[text]
    try:
        means, stds = (
            tuple(float(number) for number in part.split(",")) for part in text.split("/")
        )
    except ValueError:
        known = ", ".join((*NORMALIZATIONS, "none", PIXELS))
        raise OptionError(
            f"--normalize must be one of {known}, or MEANS/STDS such as 0.286/0.353, not '{text}'"
        ) from None
    return Normalization(mean=means, std=stds)


def shape_of(text: str | None) -> tuple[int, int, int] | None:
    """The image that ``--input-shape 3x32x32`` names.

    Raises:
        OptionError: it is no shape.
    """
    if text is None:
        return None
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) == 3 and all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        channels, height, width = (int(part) for part in parts)
        return channels, height, width
    raise OptionError(f"--input-shape must be CHANNELSxHEIGHTxWIDTH, such as 3x32x32, not '{text}'")
