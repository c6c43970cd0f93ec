"""Changes to ONNX files and NIR graphs through the libraries that write them."""

from __future__ import annotations

import io
from random import Random

import onnx_mutants
from fuzz.mutations.damage import HOSTILE_TEXTS, SIZES, damage


def change_onnx(content: bytes, chance: Random) -> bytes:
    """Other nodes, attributes, tensors and wiring; see ``onnx_mutants``."""
    number = chance.randrange(2**40)
    try:
        return onnx_mutants.mutant([content], number)
    except Exception:  # damaged before, so that protobuf does not read it
        return damage(content, chance)


def change_hdf5(content: bytes, chance: Random) -> bytes:
    """Other arrays, groups, attributes and links of an HDF5 file."""
    if chance.random() < 0.3:
        return damage(content, chance)
    import h5py

    buffer = io.BytesIO(content)
    try:
        with h5py.File(buffer, "r+") as file:
            for _ in range(chance.choice((1, 1, 2, 3))):
                _change(file, chance)
    except Exception:  # damaged before, or a change that HDF5 does not allow
        return damage(content, chance)
    return buffer.getvalue()


def _change(file, chance):
    import h5py

    names = []
    file.visit(names.append)
    name = chance.choice(names)
    item = file[name]
    match chance.randrange(9):
        case 0:
            del file[name]
        case 1:
            file.move(name, f"{name}{chance.choice(['2', chr(27), 'x' * 300, '.'])}")
        case 2:
            target = chance.choice((h5py.SoftLink("/node"), h5py.ExternalLink("/etc/passwd", "/x")))
            del file[name]
            file[name] = target
        case 3:
            item.attrs[chance.choice(("x", "type", "version"))] = chance.choice(SIZES[:8])
        case 4:
            file[f"{name if isinstance(item, h5py.Group) else 'node'}/again"] = file[
                chance.choice(names)
            ]
        case _:
            arrays = [n for n in names if isinstance(file[n], h5py.Dataset)]
            place = chance.choice(arrays)
            value = _value(file[place][()], chance)
            del file[place]
            if isinstance(value, tuple):
                file.create_dataset(place, value, "f4", chunks=True, compression="gzip")
            else:
                file[place] = value


def _value(value, chance):
    """Another value of an array; a tuple is the shape of one without content."""
    import numpy as np

    match chance.randrange(9):
        case 0:
            return chance.choice(HOSTILE_TEXTS[3:5] + HOSTILE_TEXTS[7:])
        case 1:
            return np.int64(chance.choice(SIZES) % 2**63)
        case 2:
            return np.asarray(
                [chance.choice((0, 1, 2, 5, 999, 2**22)) for _ in range(chance.randrange(1, 4))]
            )
        case 3:
            return chance.choice(((2**40,), (2**20, 2**20), (0,), (1, 1, 1, 1, 1)))
        case 4:
            return chance.choice(
                ("IF", "LIF", "Conv2d", "Linear", "NIRGraph", "Flatten", "Threshold", "Input")
            )
        case 5:
            return np.zeros(4, [("a", "f4"), ("b", "f4")])
    if getattr(value, "dtype", np.dtype(object)).kind not in "iuf":
        return np.float32(1)
    with np.errstate(all="ignore"):
        factor = chance.choice((0, -1, np.nan, np.inf, 1e30, 1e-30, 0.5, 3))
        return np.asarray(value, np.float64) * factor
