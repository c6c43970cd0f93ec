"""Convert, lower and map torchvision's networks, and write ``docs/torchvision.md``.

    python benchmarks/torchvision_networks.py                        # all networks, smallest first
    python benchmarks/torchvision_networks.py --only resnet18 vgg16  # these; the page keeps the others
    python benchmarks/torchvision_networks.py --only page            # the page alone

It needs torchvision, which depends on a torch of its own version, so ``make torchvision`` runs it in an
environment of its own. Each network runs in a process of its own, with limits on its memory and time. It has
random weights, and the batch statistics and clipping levels of random images. Its results go to a file in
``docs/torchvision/``, and the page is made from these files.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as `python benchmarks/torchvision_networks.py`
    sys.path[0] = str(Path(__file__).parents[1])

if TYPE_CHECKING:
    from torch import nn

    from toolchain.networks.layer_graph import LayerGraph

DOCS = Path(__file__).parents[1] / "docs"
TARGET = "loihi-sim"
NUM_IMAGES = 4
MEMORY_GB = 8
TIMEOUT_S = 1800
MAX_VALUE = 255
MANY_CHIPS = 2**14  # more than any network here takes


@dataclass(frozen=True, kw_only=True)
class Example:
    """A network of torchvision.

    Attributes:
        title: its name in the table.
        size: height and width of its images.
        settings: arguments of its function in ``torchvision.models``.
        small_size: height and width at which the exact engine is compared with the stepped simulator.
        small_settings: arguments that make it narrower for that comparison, where it has any.
        refused_for: the operation by whose name it has to be refused; None if it has to be converted.
    """

    title: str
    size: int = 224
    settings: Mapping[str, Any] = field(default_factory=dict)
    small_size: int = 32
    small_settings: Mapping[str, Any] = field(default_factory=dict)
    refused_for: str | None = None


_NO_AUXILIARY = {"aux_logits": False, "init_weights": True}

EXAMPLES = {
    "squeezenet1_1": Example(title="SqueezeNet 1.1"),
    "resnet18": Example(title="ResNet-18"),
    "shufflenet_v2_x1_0": Example(
        title="ShuffleNetV2 1.0",
        small_settings={"stages_repeats": [2, 2, 2], "stages_out_channels": [8, 16, 32, 64, 128]},
    ),
    "regnet_y_400mf": Example(title="RegNetY-400MF", refused_for="Sigmoid"),
    "regnet_x_400mf": Example(title="RegNetX-400MF"),
    "mobilenet_v2": Example(title="MobileNetV2", small_settings={"width_mult": 0.25}),
    "resnet34": Example(title="ResNet-34"),
    "alexnet": Example(title="AlexNet", small_size=63),
    "googlenet": Example(title="GoogLeNet", settings=_NO_AUXILIARY),
    "resnet50": Example(title="ResNet-50", small_settings={"width_per_group": 16}),
    "resnext50_32x4d": Example(title="ResNeXt-50 32x4d", small_settings={"groups": 32, "width_per_group": 1}),
    "densenet121": Example(
        title="DenseNet-121", small_settings={"growth_rate": 8, "num_init_features": 16}
    ),
    "inception_v3": Example(
        title="Inception v3", size=299, settings=_NO_AUXILIARY, small_size=75
    ),
    "vgg11_bn": Example(title="VGG-11-bn"),
    "vgg16": Example(title="VGG-16"),
    "mobilenet_v3_small": Example(title="MobileNetV3 small", refused_for="Hardswish"),
    "mobilenet_v3_large": Example(title="MobileNetV3 large", refused_for="Hardswish"),
    "efficientnet_b0": Example(title="EfficientNet-B0", refused_for="SiLU"),
    "efficientnet_v2_s": Example(title="EfficientNetV2-S", refused_for="SiLU"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*EXAMPLES, "page"], help="run only these")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    parser.add_argument("--memory", type=int, default=MEMORY_GB, help="limit of a network, in GB")
    parser.add_argument("--timeout", type=int, default=TIMEOUT_S, help="limit of a network, in s")
    parser.add_argument("--one", choices=EXAMPLES, help=argparse.SUPPRESS)  # the process of one
    arguments = parser.parse_args()
    if arguments.only != ["page"] and find_spec("torchvision") is None:
        parser.error("torchvision is missing; `make torchvision` installs it")
    if arguments.one:
        print(json.dumps(measured(arguments.one)))
        return
    folder = arguments.docs / "torchvision"
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or EXAMPLES:
        if name == "page":
            continue
        record = in_a_process(name, arguments.memory, arguments.timeout)
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(write_page(arguments.docs))


def in_a_process(name: str, memory_gb: float, timeout_s: float) -> dict[str, Any]:
    """The results of a network that has a process of its own, or why there are none."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gb * 2**30),) * 2)

    command = [sys.executable, __file__, "--one", name]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    started = time.perf_counter()
    try:
        process = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=timeout_s, preexec_fn=limit,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"did not end within {timeout_s:g} s"}
    lines = process.stdout.splitlines()
    if process.returncode or not lines:
        return {"failed": f"ended with code {process.returncode}, within {memory_gb:g} GB"}
    record: dict[str, Any] = json.loads(lines[-1])
    print(f"{name}: {time.perf_counter() - started:.0f} s in all", file=sys.stderr, flush=True)
    return record


class _Record(dict[str, Any]):
    """The results of a network, with a progress line for each step."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @contextmanager
    def step(self, key: str) -> Iterator[None]:
        """Time a step on the processor, and note the most memory that the process has taken until then."""
        before = time.process_time()
        yield
        self[f"{key}_s"] = round(time.process_time() - before, 1)
        self[f"{key}_peak_mb"] = _peak_mb()
        said = f"{self._name}: {key} {self[f'{key}_s']} s, at most {self[f'{key}_peak_mb']:,} MB"
        print(said, file=sys.stderr, flush=True)


def _without_paths(message: str) -> str:
    """A message with the places of torchvision's own files, not of this machine's."""
    import torchvision

    return message.replace(f"{Path(torchvision.__file__).parents[1]}/", "")


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def measured(name: str) -> dict[str, Any]:
    """Seconds, memory, cores and chips of one network, in this process."""
    from toolchain.errors import QacDeployError

    record = _Record(name)
    try:
        _measure(name, record)
    except QacDeployError as error:
        message = _without_paths(str(error).splitlines()[0])
        expected = EXAMPLES[name].refused_for
        fair = expected is not None and f" {expected} " in message
        record["refused" if fair else "failed"] = message
    except Exception as error:  # a fault, which the page shows
        record["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        warnings.warn(record["failed"], stacklevel=1)

    packages = ("qac-deploy", "torch", "torchvision")
    record["versions"] = ", ".join(f"{package} {version(package)}" for package in packages)
    record["machine"] = f"{platform.machine()}, Python {platform.python_version()}"
    return dict(record)


def _measure(name: str, record: _Record) -> None:
    from hw_models.multicore.mapping.mapping import map_network
    from hw_models.multicore.pipeline.provisioning import uniform_provisioning
    from hw_models.target_description import load_target
    from toolchain.files.checkpoint import Checkpoint, save_checkpoint
    from toolchain.files.whole_files import scratch_folder
    from toolchain.passes import lower_to_integers

    example = EXAMPLES[name]
    with record.step("build"):
        module = random_network(name, example.size, example.settings)
    record["parameters"] = sum(parameter.numel() for parameter in module.parameters())
    with record.step("quantize"):
        quantized = quantized_network(module, example.size)
    del module
    with record.step("convert"):
        graph = converted(quantized, example.size)
    del quantized
    record["populations"] = len(graph.spiking)
    record["maximum_populations"] = sum(p.role == "maximum" for p in graph.spiking)
    record["synapses"] = len(graph.synapses)
    with scratch_folder() as folder, record.step("save"):
        path = folder / "model.pt"
        save_checkpoint(path, Checkpoint(graph, {}))
        record["file_mb"] = round(path.stat().st_size / 1e6)
    target = replace(load_target(TARGET), num_chips=MANY_CHIPS)
    with record.step("lower"):
        network = lower_to_integers(graph, target.widths)
    del graph
    with record.step("map"):
        slots = target.default_buffer_slots
        mapping = map_network(network, target, uniform_provisioning(network, slots))
    record["cores"], record["chips"] = len(mapping.cores), mapping.num_chips
    del network, mapping
    with record.step("stepped"):
        record["same_counts"] = compare_engines(name)


def random_network(name: str, size: int, settings: Mapping[str, Any]) -> nn.Module:
    """A network of torchvision with random weights and the batch statistics of random images."""
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(0)
    module: nn.Module = _constructor(name, torchvision)(**settings)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the mean over all batches, here of one
    with torch.no_grad():
        module.train()(torch.rand(NUM_IMAGES, 3, size, size))
    return module.eval()


def _constructor(name: str, torchvision: Any) -> Callable[..., nn.Module]:
    """The function of a network, whose widths can be given where torchvision's own function fixes them."""
    models = torchvision.models

    def make(**settings: Any) -> nn.Module:
        if "stages_out_channels" in settings:
            return models.ShuffleNetV2(**settings)
        if "growth_rate" in settings:
            return models.DenseNet(block_config=(6, 12, 24, 16), **settings)
        if "groups" in settings:
            return models.ResNet(models.resnet.Bottleneck, [3, 4, 6, 3], **settings)
        return getattr(models, name)(weights=None, **settings)

    return make


def quantized_network(module: nn.Module, size: int) -> nn.Module:
    """The network with quantizers, their clipping levels set from random images."""
    import torch

    from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
    from toolchain.method.quantizers import TimestepQuantizer

    quantized = quantize_activations(module, TimestepQuantizer, max_pool="exact").eval()
    balance_thresholds(quantized, torch.rand(NUM_IMAGES, 3, size, size))
    return quantized


def converted(quantized: nn.Module, size: int) -> LayerGraph:
    """The layer graph, whose logits and counts ``convert`` compares with the network's in float64."""
    from toolchain.importers.torch_module import convert

    return convert(quantized, (3, size, size), MAX_VALUE)


def compare_engines(name: str) -> int:
    """Compare the exact engine with the stepped simulator on one random image at a small size.

    Returns:
        Number of equal spike counts; all are.

    Raises:
        AssertionError: counts or logits differ.
    """
    import numpy as np

    from hw_models.target_description import load_target
    from sim.exact.engine import run_exact
    from sim.stepped import run_stepped
    from toolchain.passes import lower_to_integers

    example = EXAMPLES[name]
    size = example.small_size
    module = random_network(name, size, {**example.settings, **example.small_settings})
    graph = converted(quantized_network(module, size), size)
    network = lower_to_integers(graph, load_target(TARGET).widths)
    pixels = np.random.default_rng(0).integers(0, MAX_VALUE + 1, (1, 3, size, size))
    stepped, exact = run_stepped(network, pixels), run_exact(network, pixels)
    if not np.array_equal(exact.logits, stepped.logits):
        raise AssertionError("the logits of the two engines differ")
    for population, counts in stepped.counts.items():
        if not np.array_equal(exact.counts[population], counts):
            raise AssertionError(f"{population}: the counts of the two engines differ")
    return sum(counts.size for counts in stepped.counts.values())


_HEAD = """\
# torchvision's networks

`make torchvision` writes this page; the figures are in `torchvision/`. Each network has random weights, the
batch statistics of {images} random images, and clipping levels that are the 0.999 quantile of each layer on
{images} random images. Its max pooling is exact. It ran on one core, in a process of its own; seconds are
processor time.

- *convert*: `toolchain.importers.torch_module.convert`. It compares the spike counts of every population and
  the logits with those of the quantized network in PyTorch, both in float64, and refuses a difference above
  1e-9 of their range.
- *lower* and *map*: the two steps of `compile --target {target}` that make integers and put them on cores,
  with the target's default of {slots} slots in every buffer. A chip has {cores} cores, and {target} has
  {chips} chips. `compile` refuses a network that takes more, unless a copy of the target's file has them.
- *memory*: the peak of the process, PyTorch included, from its start to the end of *convert* and of *map*.
- *maxima*: those of the populations that compute exact max pooling.
- *exact = stepped*: how many spike counts of the exact engine were compared with those of the stepped
  simulator, all of them equal, on one image of {small} pixels. The network is narrower for this where
  torchvision has a setting for its width.

An empty cell was not measured.

"""
_MADE_BY = "\n*Made by `make torchvision`.*\n"
_COLUMNS = (
    "network", "input", "parameters, M", "convert, s", "lower, s", "map, s", "memory, GB", "populations",
    "maxima", "cores", "chips", "exact = stepped",
)  # fmt: skip


def write_page(docs: Path) -> Path:
    """Write the page from the results that are there, whole or not at all."""
    from hw_models.target_description import load_target

    folder, page = docs / "torchvision", docs / "torchvision.md"
    records = {
        name: json.loads(path.read_text())
        for name in EXAMPLES
        if (path := folder / f"{name}.json").is_file()
    }
    rows = [
        _row(EXAMPLES[name], records[name]) for name in records if "refused" not in records[name]
    ]
    target = load_target(TARGET)
    text = _HEAD.format(
        images=NUM_IMAGES,
        target=TARGET,
        slots=target.default_buffer_slots,
        cores=target.mesh.num_cores,
        chips=target.num_chips,
        small="32x32 (AlexNet 63x63, Inception v3 75x75)",
    )
    text += _table([_COLUMNS, ["---"] * len(_COLUMNS), *rows]) + _MADE_BY
    refused = [(EXAMPLES[n].title, r["refused"]) for n, r in records.items() if "refused" in r]
    if refused:
        text += "\n## Refused\n\n" + _table([("network", "message"), ("---", "---"), *refused])
    missing = [EXAMPLES[name].title for name in EXAMPLES if name not in records]
    if missing:
        text += f"\nNot run: {', '.join(missing)}.\n"
    versions = sorted({record["versions"] for record in records.values() if "versions" in record})
    text += f"\n{'; '.join(versions)}.\n"
    new = page.with_suffix(".md.new")
    new.write_text(text)
    new.replace(page)
    return page


def _row(example: Example, record: Mapping[str, Any]) -> list[str]:
    def value(key: str, text: Callable[[Any], str] = lambda number: f"{number:,}") -> str:
        return text(record[key]) if key in record else ""

    peaks = [record[key] / 1000 for key in ("convert_peak_mb", "map_peak_mb") if key in record]
    last = record.get("failed", value("same_counts"))
    return [
        example.title, f"{example.size}x{example.size}", value("parameters", lambda n: f"{n / 1e6:.1f}"),
        value("convert_s"), value("lower_s"), value("map_s"), " / ".join(f"{p:.1f}" for p in peaks),
        value("populations"), value("maximum_populations"), value("cores"), value("chips"), last,
    ]  # fmt: skip


def _table(rows: Any) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
