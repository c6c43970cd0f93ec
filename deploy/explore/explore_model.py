"""The whole exploration of a model file, top to bottom: space, designs, front, and the folder with them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from deploy.build.folder import EXPLORATION, require_replaceable_folder
from deploy.design.accuracy import Accuracy, load_accuracy
from deploy.design.compilation import CompileOptions
from deploy.design.design import lower_model, lowering_images_of, provision
from deploy.design.extent import check_extent
from deploy.design.measured_data import measured_data
from deploy.explore.array_shapes import explore_shapes
from deploy.explore.exploration import Explored, Spread, explore, in_this_process
from deploy.explore.front import chosen_measures
from deploy.explore.journal import describe_run, open_journal
from deploy.explore.measure import DesignMeter, tuning_set
from deploy.explore.outputs import write_exploration
from deploy.explore.records import ExplorationRecord, exploration_record
from deploy.explore.space import Space, Vary, design_space
from deploy.explore.workers import on_workers
from deploy.optimize.measurements import Measurements
from deploy.report.terminal_text import print_note
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.pe_array.array_description import load_array
from hw_models.target_description import TargetDescription, load_target
from toolchain.datasets import Dataset
from toolchain.errors import OptionError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint
from toolchain.networks.layer_graph import LayerGraph, has_classes
from toolchain.printable import printable
from toolchain.rounding.plan import LoweringImages

_FEWEST_FOR_WORKERS = 100
"""Designs below which starting several processes takes longer than measuring in one."""


@dataclass(frozen=True, kw_only=True)
class ExploreOptions:
    """Options of ``qac-deploy explore``.

    Attributes:
        targets: names or paths; the first one is the default.
        vary: what is varied, with the values to try; None tries the usual ones.
        budget: most designs to try.
        seed: of the sampler, for spaces larger than the budget.
        data: data set to measure on; None takes the one the model was trained on.
        accuracy: ``FILE.py:FUNCTION`` of the user's own.
        accuracy_budget: points of accuracy that a design on the front may lose against the default design;
            None allows any loss.
        array: name or path of a PE array, all shapes of which are tried for the best networks; or None.
        workers: processes on this machine; None takes one per core, if Dask is installed and there are many
            designs.
        scheduler: address of a Dask scheduler, whose workers are used instead.
    """

    targets: Sequence[str] = ("loihi-sim",)
    vary: Mapping[Vary, Sequence[int | str] | None] = field(
        default_factory=lambda: dict.fromkeys(Vary)
    )
    budget: int = 1000
    seed: int = 0
    data: str | None = None
    accuracy: str | None = None
    accuracy_budget: float | None = None
    array: str | None = None
    workers: int | None = 1
    scheduler: str | None = None


def explore_model(
    model: Path,
    out: Path,
    options: ExploreOptions,
    *,
    resume: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExplorationRecord:
    """Explore the designs of a model, and write the result into a folder, whole or not at all.

    Measured designs are kept next to the folder until then, so that an interrupted run can go on.

    Args:
        on_progress: called with the number of designs done, and how many there will be at most.

    Raises:
        QacDeployError: the model, a target, the data set or a scheduler cannot be used, or an option is not
            possible.
    """
    require_replaceable_folder(out, EXPLORATION)
    targets = {name: load_target(name) for name in options.targets}
    array = None if options.array is None else load_array(options.array)
    on_stage("reading the model")
    checkpoint = load_checkpoint(model)
    check_extent(checkpoint.graph)
    graph = checkpoint.graph
    accuracy = None if options.accuracy is None else load_accuracy(options.accuracy)
    dataset, data_note = measured_data(model, checkpoint, options.data, accuracy)
    tuning = None if dataset is None else tuning_set(dataset, graph)
    on_stage("lowering to integers")
    space = _space(checkpoint, targets, options)
    with_accuracy = tuning is not None and (accuracy is not None or has_classes(graph.readout))
    if options.accuracy_budget is not None and not with_accuracy:
        raise OptionError(
            "--accuracy-budget needs an accuracy: choose a data set with --data, and define the accuracy of "
            "logits that are not those of classes with --accuracy"
        )
    measures = chosen_measures(
        with_data=tuning is not None,
        with_accuracy=with_accuracy,
        accuracy=None if accuracy is None else accuracy.short_name,
    )
    images = lowering_images_of(graph, dataset, CompileOptions())
    meter = DesignMeter(
        model=graph, targets=targets, dataset=tuning, images=images, accuracy=options.accuracy
    )
    state = _state_of(out)
    if state.exists() and not resume:
        print_note(
            f"starting anew: {printable(state)} of an interrupted run is replaced; --resume would "
            "continue that run"
        )
    run = describe_run(model, targets, tuning, images, options.accuracy)
    journal = open_journal(state, run, resume=resume)
    finished = False
    try:
        with ExitStack() as until_done:
            on_stage("exploring")
            spread = until_done.enter_context(
                _spread(meter, options, min(options.budget, space.size))
            )
            explored = explore(
                space,
                measures,
                options.budget,
                options.seed,
                spread,
                accuracy_budget=options.accuracy_budget,
                known=journal.finished,
                on_outcome=journal.write,
                on_progress=on_progress,
            )
        if dataset is not None:
            on_stage("measuring the best designs on test images")
        record = exploration_record(
            explored,
            test_accuracies=_test_accuracies(explored, graph, targets, dataset, images, accuracy),
            model=model,
            targets=targets,
            data=None if dataset is None else dataset.name,
            data_note=data_note,
            tuning_samples=0 if tuning is None else len(tuning.train_labels),
            budget=options.budget,
            seed=options.seed,
            accuracy=options.accuracy,
            accuracy_budget=options.accuracy_budget,
        )
        if array is not None:
            assert options.array is not None
            record["array"] = explore_shapes(
                explored,
                graph,
                targets,
                array,
                name=options.array,
                path=model,
                accuracy=options.accuracy,
                images=images,
                on_stage=on_stage,
            )
        write_exploration(record, out)
        finished = True
    finally:
        journal.close(finished=finished)
    return record


def _test_accuracies(
    explored: Explored,
    model: LayerGraph,
    targets: Mapping[str, TargetDescription],
    dataset: Dataset | None,
    images: LoweringImages | None,
    accuracy: Accuracy | None,
) -> dict[int, float | None]:
    """Accuracy on test images of the default design and of those best in something, as in a report."""
    if dataset is None:
        return {}
    on_test = {
        name: Measurements(
            model=model,
            target=target,
            dataset=dataset,
            on_stage=lambda stage: None,
            accuracy_measure=accuracy,
            images=images,
            on_test=True,
        )
        for name, target in targets.items()
    }
    found = {}
    for design in explored.designs:
        if design.measures is not None and (design.mark or design.number == 0):
            measurements = on_test[design.options.target]
            _, network = measurements.lowered(design.options)
            found[design.number] = measurements.accuracy(network)
    return found


def _state_of(out: Path) -> Path:
    """Where measured designs are kept until the folder is written."""
    folder = out.resolve()
    return folder.with_name(f"{folder.name}.exploration")


def _space(
    checkpoint: Checkpoint, targets: Mapping[str, TargetDescription], options: ExploreOptions
) -> Space:
    graph: LayerGraph = checkpoint.graph
    name, target = next(iter(targets.items()))
    base = CompileOptions(target=name, data=options.data)
    _, lowered = lower_model(graph, target, base)  # a pipeline depends on no integer
    network = lowered.network
    pipeline = pipeline_of(network, provision(network, target, base), target.link_ticks)
    return design_space(graph, pipeline, targets, base, options.vary)


def _spread(
    meter: DesignMeter, options: ExploreOptions, num_designs: int
) -> AbstractContextManager[Spread]:
    workers = options.workers
    if workers is None:
        workers = _one_per_core() if num_designs >= _FEWEST_FOR_WORKERS else 1
    if workers > 1 or options.scheduler is not None:
        return on_workers(meter, workers, options.scheduler)
    return nullcontext(in_this_process(meter))


def _one_per_core() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not cores or cores == 1:
        return 1
    if importlib.util.find_spec("distributed") is None:
        print_note(f"1 of {cores} cores is used: pip install 'qac-deploy[cluster]' for all of them")
        return 1
    return cores
