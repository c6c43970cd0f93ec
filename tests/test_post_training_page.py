"""The example of docs/post-training.md runs as printed."""

from pathlib import Path

from toolchain.networks.layer_graph import verify_layer_graph


def test_the_pages_example_runs(capsys):
    page = (Path(__file__).parents[1] / "docs" / "post-training.md").read_text("utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(example, names)
    verify_layer_graph(names["result"].graph)
    steps = capsys.readouterr().out
    assert [line.split()[0] for line in steps.splitlines()][:2] == ["float", "fixed"]
    assert "mixed T" in steps
