"""The Chrome trace shows every tick of every population once."""

from deploy.report.chrome_trace import chrome_trace
from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline


def test_events_cover_the_run_and_name_what_was_waited_for():
    buffer = AlignmentBuffer(source="a", target="b", slots=1, frames=None)
    schedule = schedule_pipeline(
        Pipeline(windows={"a": 1, "b": 3}, buffers=(buffer,), link_ticks=1), 2
    )
    trace = chrome_trace(schedule)
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"]
    assert names == ["a", "b"]
    for row in range(2):
        spans = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == row]
        assert [e["ts"] for e in spans[1:]] == [e["ts"] + e["dur"] for e in spans[:-1]]
        assert sum(e["dur"] for e in spans) == schedule.num_ticks
    waits = [e["args"]["waits for"] for e in trace["traceEvents"] if e.get("cat") == "blocked"]
    assert waits == ["a -> b"]
