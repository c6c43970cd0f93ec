"""Both arithmetics give the integers, for any geometry; what cannot is noticed."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from builders import connect, dense, network_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.exact import linear_kernels
from sim.exact.engine import ExactEngine
from sim.exact.gathered_kernels import LARGEST_SIGNED_BYTE, gathered_convolution
from sim.exact.linear_kernels import (
    channels_last_is_trusted,
    check_float_arithmetic,
    convolution_kernel,
    exact_arithmetic,
    largest_factor,
)
from toolchain.errors import DeviceError
from toolchain.networks.linear_maps import Convolution

CPU = torch.device("cpu")


@st.composite
def geometries(draw):
    """A convolution, and samples that it takes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 16]))
    per_group = draw(st.sampled_from([1, 1, 2, 3, 4, 5, 16, 17]))
    out = groups * draw(st.sampled_from([1, 2, 3, 8, 17]))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kernel = draw(st.integers(1, min(4, rows))), draw(st.integers(1, min(4, columns)))
    padding = tuple(draw(st.integers(0, size)) for size in kernel)
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = tuple(
        draw(st.integers(1, max(1, min(3, (size + 2 * margin - 1) // max(1, taps - 1)))))
        for size, margin, taps in zip((rows, columns), padding, kernel, strict=True)
    )
    weight = rng.integers(-127, 128, (out, per_group, *kernel), dtype=np.int8)
    convolution = Convolution(
        weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    shape = (draw(st.integers(1, 9)), groups * per_group, rows, columns)
    return convolution, rng.integers(0, 256, shape, np.uint8)


@pytest.mark.skipif(not largest_factor(CPU), reason="no 8-bit arithmetic on this processor")
@settings(max_examples=400)
@given(geometries(), st.sampled_from([1, 3, 64]))
def test_bytes_and_floats_give_the_sums_of_doubles(geometry, factor):
    convolution, values = geometry
    # channels last by its strides, also where a single channel leaves torch the choice
    tensor = torch.from_numpy(values.transpose(0, 2, 3, 1).copy()).permute(0, 3, 1, 2)
    bias = np.arange(len(convolution.weight)) - 1_000

    def sums(dtype, int8):
        with exact_arithmetic():
            return convolution_kernel(
                convolution,
                values.shape[1:],
                factor=factor,
                bias=bias,
                dtype=dtype,
                int8=int8,
                device=CPU,
            )(tensor).double()

    expected = sums(torch.float64, False)
    assume(expected.abs().max() < 2**24)
    assert torch.equal(sums(torch.float32, False), expected)
    if channels_last_is_trusted(convolution, values.shape[1:]):
        assert torch.equal(sums(torch.float32, True), expected)


@settings(max_examples=300)
@given(geometries())
def test_gathered_windows_give_the_sums_of_doubles(geometry):
    convolution, values = geometry
    assume(convolution.groups == 1)
    values %= LARGEST_SIGNED_BYTE + 1
    tensor = torch.from_numpy(values.transpose(0, 2, 3, 1).copy()).permute(0, 3, 1, 2)
    weight = torch.from_numpy(convolution.weight).double()
    expected = F.conv2d(
        tensor.double(), weight, None, convolution.stride, convolution.padding, convolution.dilation
    )
    for dtype in (torch.int8, torch.float32, torch.float64):
        sums = gathered_convolution(convolution, dtype, CPU)(tensor)
        assert sums.dtype == (torch.int32 if dtype == torch.int8 else dtype)
        assert torch.equal(sums.double(), expected)


def test_what_onednn_computes_wrongly_is_not_left_to_it():
    """A horizontal stride and one output column, if it is not depthwise; windows that read padding alone."""

    def trusted(out, per_group, groups, stride, columns, **geometry):
        weight = np.zeros((out, per_group, 1, 3), np.int8)
        convolution = Convolution(weight=weight, stride=stride, groups=groups, **geometry)
        return channels_last_is_trusted(convolution, (per_group * groups, 3, columns))

    assert not trusted(6, 1, 3, (1, 2), 4)
    assert not trusted(4, 1, 1, (1, 2), 4)
    assert trusted(3, 1, 3, (1, 2), 4)
    assert not trusted(6, 2, 3, (1, 2), 4)
    assert trusted(6, 1, 3, (2, 1), 3)
    assert trusted(6, 1, 3, (1, 2), 5)
    assert trusted(3, 1, 3, (1, 1), 5, padding=(0, 2))
    assert not trusted(3, 1, 3, (1, 1), 5, padding=(0, 3))
    assert not trusted(3, 1, 3, (1, 1), 5, padding=(1, 0))
    assert trusted(6, 2, 3, (1, 1), 3, padding=(0, 2), dilation=(1, 2))
    assert not trusted(6, 2, 3, (1, 1), 1, padding=(0, 3), dilation=(1, 2))


def test_a_window_of_padding_alone_is_zero():
    """In bytes, oneDNN ends the process here on processors with AMX: a 1x1 kernel that reads two columns."""
    weight = np.full((1, 17, 1, 1), 3, np.int8)
    network = network_of(
        connect(
            "input",
            "logits",
            Convolution(weight=weight, stride=(1, 3), padding=(2, 1), dilation=(2, 4)),
        ),
        image=(17, 10, 2),
        max_value=255,
        classes=(1, 14, 2),
    )
    logits = ExactEngine(network).run(np.full((1, 17, 10, 2), 5)).logits.reshape(14, 2)
    assert not logits[:, 0].any()
    assert logits[:, 1].tolist() == [0] * 14


@pytest.mark.parametrize("samples", range(1, 10))
def test_a_single_channel_is_convolved_from_the_right_rows(samples):
    """Where oneDNN reads wrong rows: 1x3 windows, two columns apart, of which one fits in each row."""
    values = np.arange(samples * 24, dtype=np.uint8).reshape(samples, 6, 4, 1)
    weight = np.array([[[[1, 2, 3]]]], np.int8)
    convolution = Convolution(weight=weight, stride=(1, 2))
    kernel = convolution_kernel(
        convolution, (1, 6, 4), factor=1, bias=None, dtype=torch.float32, int8=False, device=CPU
    )
    with exact_arithmetic():
        sums = kernel(torch.from_numpy(values).permute(0, 3, 1, 2)).numpy()
    wide = values[..., 0].astype(int)
    assert np.array_equal(sums[:, 0, :, 0], wide[..., 0] + 2 * wide[..., 1] + 3 * wide[..., 2])


def test_settings_are_undone():
    before = nnpack_is_enabled()
    with exact_arithmetic():
        assert not nnpack_is_enabled()
        if hasattr(torch.backends.mkldnn.matmul, "fp32_precision"):
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert torch.is_inference_mode_enabled()
    assert nnpack_is_enabled() == before
    assert not torch.is_inference_mode_enabled()


def test_settings_last_until_the_last_thread_has_left():
    """Those of a thread that came first and leaves first must not change under the other."""
    inside = threading.Event()
    leave = threading.Event()

    def compute():
        with exact_arithmetic():
            inside.set()
            assert leave.wait(60)

    with torch.backends.nnpack.flags(enabled=True):
        first = threading.Thread(target=compute)
        first.start()
        assert inside.wait(60)
        with exact_arithmetic():
            leave.set()
            first.join()
            assert not nnpack_is_enabled()
        assert nnpack_is_enabled()


def nnpack_is_enabled():
    enabled = torch.backends.nnpack.set_flags(False)[0]
    torch.backends.nnpack.set_flags(enabled)
    return enabled


def test_arithmetic_that_shortens_its_operands_is_refused(monkeypatch):
    check_float_arithmetic(CPU)
    whole = torch.nn.functional.linear
    monkeypatch.setattr(
        linear_kernels.F,
        "linear",
        lambda values, weight: whole(values.bfloat16().to(values.dtype), weight),
    )
    with pytest.raises(DeviceError, match=r"torch\.float32 sums on cpu are not exact: something"):
        check_float_arithmetic(CPU)


@pytest.fixture
def small_network():
    weights = [[1, 2, 3, 4], [-1, 0, 0, 1]]
    return network_of(
        connect("input", "logits", dense(weights), exponent=1),
        image=(1, 2, 2),
        max_value=255,
        classes=2,
    )


def test_a_device_that_is_not_there(small_network):
    with pytest.raises(DeviceError, match=r"device 'tpu' cannot be used: .*; 'cpu' always can"):
        ExactEngine(small_network, device="tpu")


@pytest.mark.skipif(not largest_factor(CPU), reason="no 8-bit arithmetic on this processor")
def test_a_kernel_that_errs_gives_way(small_network, monkeypatch):
    """The dense layer's 8-bit product is off by one: the engine notices and uses floats."""
    right = linear_kernels._int8_product
    monkeypatch.setattr(
        linear_kernels,
        "_int8_product",
        lambda *options: lambda values: right(*options)(values) + 1,
    )
    pixels = np.array([[[[1, 10], [100, 200]]]])
    logits = ExactEngine(small_network, int8=True).run(pixels).logits
    assert logits.tolist() == [[2 * (1 + 20 + 300 + 800), 2 * 199]]
