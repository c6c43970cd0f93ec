"""From a model and the user's options to a network on its cores, and from a design to its options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from deploy.design.compilation import CompileOptions, Design
from deploy.design.lowerings import PLAIN
from hw_models.multicore.mapping.mapping import CoreMapping, map_network
from hw_models.multicore.mapping.placement_search import with_less_traffic
from hw_models.multicore.pipeline.provisioning import Provisioning, uniform_provisioning
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset
from toolchain.errors import OptionError
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork, IntegerWidths
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import chosen_graph, lower_to_integers
from toolchain.passes.trained_integers import uses_trained_integers
from toolchain.rounding.plan import (
    ALL_TRAINED,
    Lowering,
    LoweringImages,
    lowering_images,
    why_not_fitted,
)

_MOST_LISTED = 12


def build_design(
    model: LayerGraph,
    target: TargetDescription,
    options: CompileOptions,
    on_stage: Callable[[str], None] = lambda stage: None,
    images: LoweringImages | None = None,
) -> Design:
    """Lower and map a model as the options say, without a search.

    Args:
        images: that integers are fitted to, see ``lower_graph``.

    Raises:
        OptionError: an option names a population or an edge that the network does not have.
        IntegerWidthError: the target cannot hold the integers.
        MappingError: the network does not fit the target.
    """
    on_stage("lowering to integers")
    graph, lowered = lower_model(model, target, options, images)
    network = lowered.network
    on_stage("mapping onto cores")
    provisioning = provision(network, target, options)
    mapping = place(network, target, provisioning, exchange_cores=options.exchange_cores)
    return Design(
        options=options,
        graph=graph,
        mapping=mapping,
        lowering=lowered,
        cores_exchanged=options.exchange_cores,
    )


def lower_model(
    model: LayerGraph,
    target: TargetDescription,
    options: CompileOptions,
    images: LoweringImages | None = None,
) -> tuple[LayerGraph, Lowering]:
    """The graph after the float passes that the options choose, and its integer network.

    Args:
        images: see ``lower_graph``.

    Raises:
        OptionError: an option names a population that the model does not have.
        IntegerWidthError: the target cannot hold its integers.
    """
    spiking = [p.name for p in model.spiking]
    _require_known(options.timesteps, spiking, "--timesteps", "spiking population")
    _require_known(options.alignments, spiking, "--align", "spiking population")
    graph = chosen_graph(model, options)
    return graph, lower_graph(graph, target, options, images)


def lowering_images_of(
    model: LayerGraph, dataset: Dataset | None, options: CompileOptions
) -> LoweringImages | None:
    """The images that all variants of a model are lowered on; None if none are there or asked for."""
    if dataset is None or options.lowering == PLAIN:
        return None
    return lowering_images(model, dataset)


def lower_graph(
    graph: LayerGraph,
    target: TargetDescription,
    options: CompileOptions,
    images: LoweringImages | None = None,
) -> Lowering:
    """The integer network of a graph, for a target and the options' lowering, weight bits and thresholds.

    Args:
        images: that integers are fitted to, unless the options ask for plain lowering. None rounds each
            weight to nearest, and says so.

    Raises:
        IntegerWidthError: the target cannot hold its integers.
    """
    widths = _widths(target, options)
    if options.lowering == PLAIN:
        return Lowering(network=lower_to_integers(graph, widths))
    if images is None:
        network = lower_to_integers(graph, widths)
        reason = why_not_fitted(graph) or "no data set has images to fit them to"
        note = f"weights are rounded to nearest: {reason}"
        if len(uses_trained_integers(graph, network)) == len(network.populations) - 1:
            note = ALL_TRAINED
        return Lowering(network=network, notes=(note,))
    from toolchain.rounding.lower_on_images import lower_on_images  # imports torch

    return lower_on_images(graph, widths, images)


def _widths(target: TargetDescription, options: CompileOptions) -> IntegerWidths:
    widths = target.widths
    if options.weight_bits is not None:
        widths = replace(widths, weight_bits=options.weight_bits)
    if options.thresholds is not None:
        widths = replace(widths, distinct_thresholds=options.thresholds)
    return widths


def provision(
    network: IntegerNetwork, target: TargetDescription, options: CompileOptions
) -> Provisioning:
    """The buffer slots, replicas and tile limits that the options choose.

    Raises:
        OptionError: an option names an edge or a population that the network does not have.
    """
    depth = options.slots or target.default_buffer_slots
    uniform = uniform_provisioning(network, depth, options.replicate)
    edges: dict[str, list[tuple[str, str]]] = {}
    for edge in uniform.slots:
        edges.setdefault(edge_name(*edge), []).append(edge)
    _require_known(options.slots_of, edges, "--slots", "edge")
    for name in options.slots_of:
        if len(edges[name]) > 1:
            raise OptionError(
                f"--slots {name}: two edges have this name, since names of populations contain '->'; rename "
                f"the populations"
            )
    on_chip = [p.name for p in network.populations if not isinstance(p, IntegerInput)]
    _require_known(options.tile_work, on_chip, "--tile-work", "population on the chip")
    chosen = {
        edges[name][0]: slots * options.replicate.get(edges[name][0][1], 1)
        for name, slots in options.slots_of.items()
    }
    return replace(uniform, slots={**uniform.slots, **chosen}, tile_limits=dict(options.tile_work))


def place(
    network: IntegerNetwork,
    target: TargetDescription,
    provisioning: Provisioning,
    *,
    exchange_cores: bool,
) -> CoreMapping:
    """Map a network, and exchange cores if asked for.

    Raises:
        MappingError: it does not fit the target.
    """
    mapping = map_network(network, target, provisioning)
    return with_less_traffic(mapping) if exchange_cores else mapping


def explicit_options(design: Design) -> CompileOptions:
    """Options with which ``build_design`` gives a design that a search found."""
    provisioning = design.provisioning
    per_replica = {edge: provisioning.slots_per_replica(*edge) for edge in provisioning.slots}
    usual = Counter(per_replica.values()).most_common(1)
    depth = usual[0][0] if usual else None
    by_default = depth == design.mapping.target.default_buffer_slots
    return replace(
        design.options,
        slots=None if by_default and design.options.slots is None else depth,
        slots_of={edge_name(*edge): slots for edge, slots in per_replica.items() if slots != depth},
        replicate={name: count for name, count in provisioning.replicas.items() if count > 1},
        tile_work=dict(provisioning.tile_limits),
        exchange_cores=design.cores_exchanged,
        optimize=None,
        interval=None,
        accuracy_budget=0.0,
    )


def edge_name(source: str, target: str) -> str:
    """An edge as ``--slots`` names it."""
    return f"{source}->{target}"


def _require_known(named: Iterable[str], known: Iterable[str], option: str, kind: str) -> None:
    names = list(known)
    for name in named:
        if name not in names:
            listed = ", ".join(names[:_MOST_LISTED])
            more = f" and {len(names) - _MOST_LISTED} more" * (len(names) > _MOST_LISTED)
            raise OptionError(
                f"{option} {name}: the network has no {kind} of this name; it has {listed}{more}"
            )
