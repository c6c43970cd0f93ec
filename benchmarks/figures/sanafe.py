"""docs/sana-fe.md: builds of three networks, and of optimized designs, in SANA-FE and in our model."""

from __future__ import annotations

from typing import Any

from benchmarks.figures.commands import Commands
from benchmarks.figures.pages import table

BUILDS = {
    "digits": ("model.pt", "", 4),
    "digits, replicated": ("model.pt", "--replicate inner=2 --replicate join=2", 6),
    "ResNet-20, a quarter wide": ("narrow-resnet-20.pt", "", 2),
}
DESIGNS = {
    "digits, as compiled": ("model.pt", "", 4),
    "digits, `--optimize cores`": ("model.pt", "--optimize cores", 4),
    "digits, `--optimize stalls`": ("model.pt", "--optimize stalls", 4),
    "digits, `--optimize time`": ("model.pt", "--optimize time", 4),
}
"""Name in the table: model, options of ``compile``, ``cross-check --samples``."""

WAITING = "spikes wait to be sent, in the mesh, and at the core"
LOOKUPS = "lookups in parallel with a core's neurons"


def measure(commands: Commands, cases: dict[str, tuple[str, str, int]]) -> dict[str, Any]:
    return {name: _checked(commands, *case) for name, case in cases.items()}


def _checked(commands: Commands, model: str, options: str, samples: int) -> dict[str, Any]:
    compile_command = f"compile {commands.model(model)} {options} --out sana-fe-build"
    report = commands.run(" ".join(compile_command.split()))
    found = commands.run(f"cross-check sana-fe-build/ --samples {samples}")
    events = {event["name"]: event for event in found["events"]}
    ticks = found["tick_us"]
    energy = {
        side: sum(row[side] for row in found["energy"]) / samples for side in ("ours", "theirs")
    }
    timesteps = [p["timesteps"] for p in report["populations"] if p["kind"] == "spiking"]
    return {
        "samples": samples,
        "timesteps": timesteps,
        "cores": report["mapping"]["num_cores"],
        "chips": report["mapping"]["num_chips"],
        "ticks": found["num_ticks"],
        "copies": found["copies"],
        "spikes": found["num_spikes"],
        "equal": not found["disagreements"] and found["spike_difference"] is None,
        "synaptic_events": events["synaptic events"]["theirs"],
        "messages": events["messages sent"]["theirs"],
        "active_updates": [events["active updates"][side] for side in ("ours", "theirs")],
        "energy_nj": {side: 1e9 * joules for side, joules in energy.items()},
        "us": {side: sum(values) for side, values in ticks.items()},
        "tick_difference": [
            choose(ours / theirs for ours, theirs in zip(ticks["ours"], ticks["detailed"], strict=True)) - 1
            for choose in (min, max)
        ],
        "us_by_reason": {row["reason"]: row["difference_us"] for row in found["time_steps"]},
    }  # fmt: skip


def show_builds(found: dict[str, Any]) -> dict[str, str]:
    builds = list(found.values())
    rows: list[list[str]] = [
        ["T of the populations", *(_timesteps(b["timesteps"]) for b in builds)],
        ["`cross-check --samples`", *(str(b["samples"]) for b in builds)],
        ["cores, chips", *(f"{b['cores']}, {b['chips']}" for b in builds)],
        ["ticks, copies", *(f"{b['ticks']}, {b['copies']}" for b in builds)],
    ]
    for label, name in (
        ("spikes: all equal", "spikes"),
        ("synaptic events: all equal", "synaptic_events"),
        ("messages sent: all equal", "messages"),
    ):
        rows.append([label, *(f"{b[name]:,}" for b in builds)])
    updates = [b["active_updates"] for b in builds]
    rows.append(["active updates, ours", *(f"{ours:,}" for ours, _ in updates)])
    rows.append(["active updates, SANA-FE", *(f"{theirs:,}" for _, theirs in updates)])
    energies = [b["energy_nj"] for b in builds]
    rows += [
        ["energy per sample, ours", *(f"{e['ours']:,.0f} nJ" for e in energies)],
        ["energy per sample, SANA-FE", *(f"{e['theirs']:,.0f} nJ" for e in energies)],
        ["difference of ours", *(_percent(e["ours"] / e["theirs"] - 1) for e in energies)],
    ]
    times = [b["us"] for b in builds]
    reasons = [b["us_by_reason"] for b in builds]
    rows += [
        ["time of the run, ours", *(f"{t['ours']:,.0f} us" for t in times)],
        ["of it, queues in the mesh", *(f"{abs(r['no queues in the mesh']):,.0f} us" for r in reasons)],
        ["lookups in parallel", *(f"{r[LOOKUPS]:+,.0f} us" for r in reasons)],
        ["SANA-FE, simple timing", *(f"{t['simple']:,.0f} us" for t in times)],
        ["waiting", *(f"{r[WAITING]:+,.0f} us" for r in reasons)],
        ["SANA-FE, detailed timing", *(f"{t['detailed']:,.0f} us" for t in times)],
        ["difference of ours from detailed", *(_percent(t["ours"] / t["detailed"] - 1) for t in times)],
        ["difference of single ticks", *(_range(b["tick_difference"]) for b in builds)],
    ]  # fmt: skip
    return {"sana-fe": table(("", *found), rows)}


def show_designs(found: dict[str, Any]) -> dict[str, str]:
    rows = [
        (
            name, f"{d['cores']:,}", f"{d['us']['detailed']:,.0f} us", f"{d['us']['ours']:,.0f} us",
            _percent(d["us"]["ours"] / d["us"]["detailed"] - 1),
        )
        for name, d in found.items()
    ]  # fmt: skip
    return {"sana-fe-designs": table(("design", "cores", "SANA-FE, detailed", "ours", ""), rows)}


def _timesteps(timesteps: list[int]) -> str:
    if len(timesteps) < 6:
        return ", ".join(map(str, timesteps))
    return f"{min(timesteps)} to {max(timesteps)}"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _range(shares: list[float]) -> str:
    low, high = (100 * share for share in shares)
    return f"{low:+.0f} to {high:+.0f} %"
