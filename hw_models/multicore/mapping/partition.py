"""Cut each population into tiles that one core can hold.

Populations are cut from the readout back to the input, so that the tiles to which a population sends are
known when its output axons are counted. A core serves one population, and one replica of it; all replicas
are cut alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.core_resources import (
    CoreUse,
    NetworkOnTarget,
    compartments_per_neuron,
    core_uses,
    excess,
    fullest_limit,
    highest_use,
)
from hw_models.multicore.mapping.tile_grid import TileGrid, cut
from hw_models.multicore.pipeline.provisioning import Provisioning, uniform_provisioning
from hw_models.target_description import TargetDescription
from toolchain.errors import MappingError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    bit_planes,
    highest_exponent,
)
from toolchain.networks.integer_network.merged_weights import largest_merged_weight


def partition(
    network: IntegerNetwork,
    target: TargetDescription,
    provisioning: Provisioning,
) -> list[tuple[TileGrid, list[CoreUse]]]:
    """A grid of tiles for each population but the input, and how much each tile uses, in topological order.

    Each grid has few tiles: every way to cut rows and columns is tried, with channel blocks by bisection.
    If a population has a tile limit, no tile is more work than that.

    Raises:
        MappingError: a single neuron exceeds a core, or all tiles together exceed all chips; the message
            names the limit, by how much, and what would fit.
    """
    _check_bit_planes(network, target)
    _check_weights(network, target)
    context = NetworkOnTarget(network, target, provisioning)
    grids = all_grids(context)
    if sum(context.num_cores(grids).values()) > target.num_cores:
        raise _too_many_cores(context, grids)
    return [
        (grids[p.name], core_uses(context, p, grids[p.name], grids))
        for p in network.populations
        if p.name in grids
    ]


def all_grids(context: NetworkOnTarget) -> dict[str, TileGrid]:
    """The tiles of each population, from the readout back.

    The fewest tiles may be so many channel blocks that a source cannot send to them all. Its targets are
    then cut into fewer channel blocks, and finer along rows and columns.

    Raises:
        MappingError: a single neuron exceeds a core; the message names the limit, and by how much.
    """
    network = context.network
    order = [p for p in reversed(network.populations) if not isinstance(p, IntegerInput)]
    grids: dict[str, TileGrid] = {}
    most_blocks: dict[str, int] = {}  # along channels
    refusals: dict[str, str] = {}  # why there may be no more
    at = 0
    while at < len(order):
        population = order[at]
        name = population.name
        grid = _fewest_tiles(context, population, grids, most_blocks.get(name))
        if grid is not None:
            grids[name] = grid
            at += 1
            continue
        refusal = _too_large_neuron(context, population, grids)
        fewer = _fewer_channel_blocks(context, population, grids)
        if not fewer:
            raise MappingError(refusals.get(name, refusal))
        most_blocks |= fewer
        refusals |= dict.fromkeys(fewer, refusal)
        at = min(i for i, p in enumerate(order) if p.name in fewer)
        grids = {p.name: grids[p.name] for p in order[:at]}
    return grids


def _fewer_channel_blocks(
    context: NetworkOnTarget, population: IntegerPopulation, consumers: Mapping[str, TileGrid]
) -> dict[str, int]:
    """Fewer channel blocks for the targets of a neuron that has too few output axons to reach all of them.

    Returns:
        Largest number of each target that has more than one; empty if other limits are exceeded.
    """
    over = _excess_of_one_neuron(context, population, consumers)
    if set(over) != {"output_axons"}:
        return {}
    available = context.available("output_axons")
    share = available / (available + over["output_axons"])
    blocks = {
        s.target: consumers[s.target].shape[0] for s in context.network.outgoing(population.name)
    }
    return {name: max(1, min(int(n * share), n - 1)) for name, n in blocks.items() if n > 1}


def _excess_of_one_neuron(
    context: NetworkOnTarget, population: IntegerPopulation, consumers: Mapping[str, TileGrid]
) -> dict[str, int]:
    """By how much tiles of one neuron exceed each limit that one of them exceeds."""
    single = cut(population.name, population.shape, population.shape)
    return excess(context, [highest_use(context, population, single, consumers)])


def total_cores(context: NetworkOnTarget, grids: Mapping[str, TileGrid]) -> int:
    """Cores of all populations and replicas."""
    return sum(context.num_cores(grids).values())


def _too_many_cores(context: NetworkOnTarget, grids: Mapping[str, TileGrid]) -> MappingError:
    """An error that says how many cores are missing, what takes most of them, and what would fit."""
    target, num_cores = context.target, context.num_cores(grids)
    needed = total_cores(context, grids)
    largest = sorted(grids, key=lambda name: -num_cores[name])[:3]
    shares = ", ".join(f"{name} {num_cores[name]:,}" for name in largest)
    use = highest_use(context, context.network[largest[0]], grids[largest[0]], grids)
    limit = fullest_limit(target, [use])
    label = CORE_LIMITS[limit].label
    size = f"the network needs {needed:,} cores, {missing_cores(target, needed)}"
    remedy = CORE_LIMITS[limit].remedy if limit == "threshold_profiles" else None
    remedy = what_would_fit(context, needed, remedy)
    return MappingError(
        f"{size} (most: {shares}; {largest[0]} fills the {label} of its cores); {remedy}",
        num_cores,
        f"{label} fill the cores of {largest[0]}. Most cores: {shares}. {remedy[0].upper()}{remedy[1:]}",
    )


def missing_cores(target: TargetDescription, needed: int) -> str:
    """How many cores a target lacks."""
    chips = f"{target.num_chips} chips" if target.num_chips > 1 else "one chip"
    return f"{needed - target.num_cores:,} more than the {target.num_cores:,} of {target.name}, {chips}"


def what_would_fit(context: NetworkOnTarget, needed: int, remedy: str | None = None) -> str:
    """A remedy that was computed: fewer buffer slots, or else a number of chips.

    Args:
        remedy: another one, which comes first.
    """
    target, provisioning = context.target, context.provisioning
    single = uniform_provisioning(context.network, 1, provisioning.replicas).slots
    if provisioning.slots != single:
        shallow = replace(context, provisioning=replace(provisioning, slots=single))
        fewest = total_cores(shallow, all_grids(shallow))
        if fewest <= target.num_cores:
            return f"with one slot in every buffer (--slots 1) it needs {fewest:,} and fits"
    chips = ceil(needed / target.mesh.num_cores)
    before = f"{remedy}, or " if remedy else ""
    fewer = "fewer replicas or " if provisioning.replicas else ""
    return (
        f"{before}use {chips:,} chips (chips.count in a copy of the target's file, given with --target), "
        f"or {fewer}fewer channels"
    )


def _fewest_tiles(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    consumers: Mapping[str, TileGrid],
    most_blocks: int | None,
) -> TileGrid | None:
    """Try every way to cut rows and columns, each with the fewest channel blocks that fit.

    Args:
        most_blocks: largest number of channel blocks; None for any.

    Returns:
        The grid with the fewest tiles, None if none fits.
    """
    name, (channels, rows, columns) = population.name, population.shape
    most = context.available("compartments") // max(compartments_per_neuron(context, population), 1)
    bases = context.available("compartment_bases")
    tile_limit = context.provisioning.tile_limits.get(name)
    best: TileGrid | None = None

    def grid_of(blocks: tuple[int, int, int]) -> TileGrid | None:
        """The grid if its tiles fit."""
        grid = cut(name, population.shape, blocks)
        if tile_limit is not None and context.cuts.worst_tile_work(grid) > tile_limit:
            return None
        over = excess(context, [highest_use(context, population, grid, consumers)])
        return None if over else grid

    for row_blocks, column_blocks in sorted(
        ((r, c) for r in _block_counts(rows) for c in _block_counts(columns)),
        key=lambda counts: (counts[0] * counts[1], counts[1]),
    ):
        positions = ceil(rows / row_blocks) * ceil(columns / column_blocks)
        if positions > min(bases, most):
            continue
        fewest = ceil(channels / (most // positions))
        if best is not None and row_blocks * column_blocks * fewest >= len(best):
            continue
        # Bisect. Fit is not strictly monotonic, as a block may straddle two atom blocks: the grid that is
        # found fits, but one with fewer blocks might, too.
        low, high = fewest, channels if most_blocks is None else min(channels, most_blocks)
        grid = grid_of((high, row_blocks, column_blocks)) if low <= high else None
        while grid is not None and low < high:
            middle = (low + high) // 2
            if (smaller := grid_of((middle, row_blocks, column_blocks))) is not None:
                grid, high = smaller, middle
            else:
                low = middle + 1
        if grid is not None and (best is None or len(grid) < len(best)):
            best = grid
    return best


def _too_large_neuron(
    context: NetworkOnTarget, population: IntegerPopulation, consumers: Mapping[str, TileGrid]
) -> str:
    """A message: which limit a tile of one neuron exceeds, by how much, and what would help."""
    single = cut(population.name, population.shape, population.shape)
    tile_limit = context.provisioning.tile_limits.get(population.name)
    if tile_limit is not None:
        work = context.cuts.worst_tile_work(single)
        if work > tile_limit:
            return (
                f"{population.name}: one neuron alone receives {work:,} worst-case events, above the "
                f"limit of {tile_limit:,} per tile"
            )
    over = _excess_of_one_neuron(context, population, consumers)
    limit, amount = max(over.items(), key=lambda item: item[1] / context.available(item[0]))
    return (
        f"{population.name}: one neuron needs {context.available(limit) + amount:,} "
        f"{CORE_LIMITS[limit].label}, {amount:,} more than the {context.available(limit):,} of a core of "
        f"{context.target.name}; {CORE_LIMITS[limit].remedy}"
    )


def _block_counts(size: int) -> list[int]:
    """Numbers of blocks that give different sizes of a block."""
    return sorted({ceil(size / block) for block in range(1, size + 1)})


def _check_bit_planes(network: IntegerNetwork, target: TargetDescription) -> None:
    """The host injects pixels as bit planes, whose weights are shifted by up to the pixel's width."""
    source = network.input
    for synapse in network.outgoing(source.name):
        highest = highest_exponent(network, synapse)
        if highest > target.widths.max_exponent:
            raise MappingError(
                f"{synapse}: the highest of {bit_planes(source)} bit planes needs weight exponent "
                f"{highest}, but {target.name} has {target.widths.max_exponent}; compile the model again"
            )


def _check_weights(network: IntegerNetwork, target: TargetDescription) -> None:
    """A core holds one weight between two neurons, over all paths through the pools between them."""
    for synapse in network.synapses:
        largest = largest_merged_weight(synapse, network[synapse.source].shape)
        if largest > target.widths.max_weight:
            raise MappingError(
                f"{synapse}: the paths through its pools add up to a weight of {largest}, which exceeds "
                f"{target.widths.weight_bits} bits ({target.widths.max_weight}); compile the model again"
            )
