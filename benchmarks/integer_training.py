"""Time an epoch of training with a target's integers beside one of quantized training, in one run.

    python benchmarks/integer_training.py

Both train the same network on the same images with a teacher. Processor time of one thread is measured, so
that other work on the machine does not count.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

if not __package__:  # run as `python benchmarks/integer_training.py`
    sys.path[0] = str(Path(__file__).parents[1])
os.environ.setdefault("OMP_NUM_THREADS", "1")

NETWORKS = {"resnet-20": 1.0, "vgg-9": 0.25}
IMAGES, REPEATS = 2_560, 3


def main() -> None:
    """Print the times of each network, the least of several epochs, and their ratio."""
    import torch

    from hw_models.target_description import load_target
    from toolchain.datasets import Dataset, load_dataset
    from toolchain.importers.torch_module import convert
    from toolchain.method.quantize_activations import average_pooled, quantize_activations
    from toolchain.method.quantizers import TimestepQuantizer
    from toolchain.model_zoo import build_model
    from toolchain.passes import lower_to_integers
    from toolchain.training import TrainingPlan, train
    from toolchain.training.integer_aware import (
        FloatNetwork,
        IntegerAwareNetwork,
        relative_adam,
    )

    torch.set_num_threads(1)
    whole = load_dataset("fashion-mnist")
    data: Dataset = replace(
        whole,
        train_pixels=whole.train_pixels[:IMAGES],
        train_labels=whole.train_labels[:IMAGES],
    )
    plan = TrainingPlan(epochs=1, batch_size=128, budget=None, distillation=0.5)
    for name, width in NETWORKS.items():
        torch.manual_seed(0)
        ann = average_pooled(build_model(name, data.input_shape, data.num_classes, width))
        quantized = quantize_activations(
            ann, lambda: TimestepQuantizer(timesteps=3), max_pool="average"
        )
        train(quantized, data, plan, teacher=ann)
        graph = convert(quantized, data.input_shape, data.max_value)
        print(name, width)
        found: dict[str, float] = {}
        found["quantized training"] = _least(partial(train, quantized, data, plan, teacher=ann))
        for bits in (8, 4):
            widths = replace(load_target("loihi-sim").widths, weight_bits=bits)
            module = IntegerAwareNetwork(lower_to_integers(graph, widths), widths)
            teacher = FloatNetwork(graph)
            slow = replace(plan, learning_rate=0.005)
            found[f"with {bits}-bit integers"] = _least(
                partial(train, module, data, slow, teacher=teacher, make_optimizer=relative_adam)
            )
        for what, seconds in found.items():
            ratio = seconds / found["quantized training"]
            print(f"  {what:24}{seconds:8.2f} s  {ratio:.2f} x")


def _least(run: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
