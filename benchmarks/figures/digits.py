"""What README, docs/trace.md and docs/own-network.md say of networks that train in seconds."""

from __future__ import annotations

from typing import Any

from benchmarks.figures.commands import Commands

TRACE = "trace build/ --sample 3 --population join --neuron 0,2,5"
FOUR_STEPS = "compile lenet.pt --timesteps 4 --optimize stalls --out lenet-build"


def measure(commands: Commands) -> dict[str, Any]:
    """The build of "A first result in a minute", its first suggestion, and one trace."""
    commands.model("model.pt")
    report = commands.run("compile model.pt --target loihi-sim")
    suggested = report["suggestions"][0]
    shown = ("num_cores", "interval_us", "interval_ticks", "accuracy", "stall_share")
    return {
        "now": {name: report["measures"][name] for name in shown},
        "suggestion": suggested["change"],
        "then": {name: suggested["gives"][name] for name in shown},
        "trace": commands.text(TRACE).splitlines(),
    }


def show(found: dict[str, Any]) -> dict[str, str]:
    """The trace of neuron 2, as docs/trace.md prints it."""
    lines = found["trace"]
    start = next(i for i, line in enumerate(lines) if line.startswith("neuron 2 ("))
    shown = "\n".join(line.rstrip() for line in lines[start : start + 4])
    return {"trace": f"```bash\nqac-deploy {TRACE}\n```\n\n```text\n{shown}\n```\n"}


def measure_max_pools(commands: Commands) -> dict[str, Any]:
    """The ticks of a LeNet with exact max pooling, and without its additional populations."""
    commands.model("lenet.pt")
    report = commands.run(FOUR_STEPS)
    pooling, pipeline = report["max_pooling"], report["pipeline"]
    return {
        "interval_ticks": pipeline["interval_ticks"],
        "first_latency_ticks": pipeline["first_latency_ticks"],
        "interval_ticks_without": pooling["interval_ticks_without"],
        "first_latency_ticks_without": pooling["first_latency_ticks_without"],
    }


def show_max_pools(found: dict[str, Any]) -> dict[str, str]:
    interval, without = found["interval_ticks"], found["interval_ticks_without"]
    same = "as without" if interval == without else f"compared with {without:g} without"
    sentence = (
        f"`--optimize stalls` adds the slots that the longer pipeline needs: a LeNet with T = 4 then gives "
        f"one result every {interval:g} ticks, {same} these populations, and its first result after "
        f"{found['first_latency_ticks']} ticks instead of {found['first_latency_ticks_without']}.\n"
    )
    return {"max-pools": sentence}
