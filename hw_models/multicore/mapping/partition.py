"""Cut each population into tiles that one core can hold.

Populations are taken from the readout back to the input, so that the cores a neuron must send to are
known when its own output axons are counted. A core serves one population, and one replica of it; all
replicas are cut alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    worst_tile_work,
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


def partition(
    network: IntegerNetwork,
    target: TargetDescription,
    provisioning: Provisioning,
) -> list[tuple[TileGrid, list[CoreUse]]]:
    """A grid of tiles for each population but the input, in topological order: that of each replica.

    Each has few tiles: every way to cut rows and columns is tried, with channel blocks by bisection.
    A population with a tile limit gets smaller tiles, so that none is more work than that.

    Raises:
        MappingError: a single neuron exceeds a core, or all tiles together exceed all chips; the message
            names the limit, by how much, and what would fit.
    """
    _check_bit_planes(network, target)
    context = NetworkOnTarget(network, target, provisioning)
    grids, uses = _all_grids(context)
    if sum(context.num_cores(grids).values()) > target.num_cores:
        raise MappingError(_too_many_cores(context, grids, uses))
    return [(grids[p.name], uses[p.name]) for p in network.populations if p.name in grids]


def _all_grids(context: NetworkOnTarget) -> tuple[dict[str, TileGrid], dict[str, list[CoreUse]]]:
    """The tiles of each population and what each uses, from the readout back."""
    grids: dict[str, TileGrid] = {}
    uses: dict[str, list[CoreUse]] = {}
    for population in reversed(context.network.populations):
        if not isinstance(population, IntegerInput):
            grid = _fewest_tiles(context, population, grids)
            grids[population.name] = grid
            uses[population.name] = core_uses(context, population, grid, grids)
    return grids, uses


def _too_many_cores(
    context: NetworkOnTarget, grids: Mapping[str, TileGrid], uses: Mapping[str, Sequence[CoreUse]]
) -> str:
    """By how much, where most of it goes and why, and what the shallowest buffers would give."""
    target, num_cores = context.target, context.num_cores(grids)
    needed = sum(num_cores.values())
    largest = sorted(grids, key=lambda name: -num_cores[name])[:3]
    shares = ", ".join(f"{name} {num_cores[name]}" for name in largest)
    limit = fullest_limit(target, uses[largest[0]])
    chips = f"{target.num_chips} chips" if target.num_chips > 1 else "one chip"
    message = (
        f"the network needs {needed} cores, {needed - target.num_cores} more than the "
        f"{target.num_cores} of {target.name}, {chips} (most: {shares}; "
        f"{largest[0]} fills the {CORE_LIMITS[limit].label} of its cores); "
    )
    provisioning = context.provisioning
    single = uniform_provisioning(context.network, 1, provisioning.replicas).slots
    if provisioning.slots != single:
        shallow = replace(context, provisioning=replace(provisioning, slots=single))
        fewest = sum(context.num_cores(_all_grids(shallow)[0]).values())
        if fewest <= target.num_cores:
            return f"{message}with one slot in every buffer (--slots 1) it needs {fewest} and fits"
        message += f"with one slot in every buffer (--slots 1) it still needs {fewest}; "
    if limit == "threshold_profiles":
        return message + CORE_LIMITS[limit].remedy
    fewer = "fewer replicas, " if provisioning.replicas else ""
    return message + f"use {fewer}fewer channels or a larger target"


def _fewest_tiles(
    context: NetworkOnTarget, population: IntegerPopulation, consumers: Mapping[str, TileGrid]
) -> TileGrid:
    """Try every way to cut rows and columns, each with the fewest channel blocks that fit."""
    channels, rows, columns = population.shape
    most = context.available("compartments") // max(compartments_per_neuron(context, population), 1)
    bases = context.available("compartment_bases")
    tile_limit = context.provisioning.tile_limits.get(population.name)
    best: TileGrid | None = None
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

        def fits(blocks: int, r: int = row_blocks, c: int = column_blocks) -> bool:
            grid = cut(population.name, population.shape, (blocks, r, c))
            if (
                tile_limit is not None
                and worst_tile_work(context, population.name, grid) > tile_limit
            ):
                return False
            return not excess(context, [highest_use(context, population, grid, consumers)])

        found = _fewest_that_fits(fewest, channels, fits)
        if found is None:
            continue
        grid = cut(population.name, population.shape, (found, row_blocks, column_blocks))
        if best is None or len(grid) < len(best):
            best = grid
    if best is not None:
        return best
    single = cut(population.name, population.shape, population.shape)
    if tile_limit is not None:
        work = worst_tile_work(context, population.name, single)
        if work > tile_limit:
            raise MappingError(
                f"{population.name}: one neuron alone receives {work:,} worst-case events, above the "
                f"limit of {tile_limit:,} per tile"
            )
    over = excess(context, core_uses(context, population, single, consumers))
    limit, amount = max(over.items(), key=lambda item: item[1] / context.available(item[0]))
    raise MappingError(
        f"{population.name}: one neuron needs {context.available(limit) + amount:,} "
        f"{CORE_LIMITS[limit].label}, {amount:,} more than the {context.available(limit):,} of a core of "
        f"{context.target.name}; {CORE_LIMITS[limit].remedy}"
    )


def _fewest_that_fits(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """Fewest blocks found by bisection, None if even ``high`` does not fit.

    The fit is not strictly monotonic, as a block may straddle two atom blocks: what is found fits, but
    fewer blocks might.
    """
    if low > high or not fits(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _block_counts(size: int) -> list[int]:
    """Numbers of blocks that give different block sizes."""
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
