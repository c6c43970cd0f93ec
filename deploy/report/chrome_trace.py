"""The pipeline run as a Chrome trace: open it in a trace viewer, one row per stage."""

from __future__ import annotations

from hw_models.multicore.pipeline.pipeline_ticks import Schedule


def chrome_trace(schedule: Schedule) -> dict[str, object]:
    """Trace-event JSON ("complete" events); one tick is shown as one microsecond."""
    events: list[dict[str, object]] = []
    for row, (name, spans) in enumerate(schedule.spans.items()):
        events.append(
            {"ph": "M", "pid": 0, "tid": row, "name": "thread_name", "args": {"name": name}}
        )
        events += [
            {
                "ph": "X",
                "pid": 0,
                "tid": row,
                "ts": span.start,
                "dur": span.num_ticks,
                "name": span.activity
                if span.sample < 0
                else f"{span.activity} (sample {span.sample})",
                "cat": span.activity,
                "args": {} if span.cause is None else {"waits for": " -> ".join(span.cause)},
            }
            for span in spans
        ]
    return {"traceEvents": events, "otherData": {"unit": "1 us shown = 1 tick"}}
