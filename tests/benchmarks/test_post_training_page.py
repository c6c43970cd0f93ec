"""The page of post-training conversion is made from measurements, and says what was not measured."""

import json

import pytest

from benchmarks.post_training.page import END, START, write_page


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "post-training"
    folder.mkdir()
    steps = [
        {"name": name, "logit_error": error, "kept": kept}
        for name, error, kept in (
            ("float network", 0.0, True),
            ("clipping levels", 0.02, True),
            ("biases", 0.03, False),
        )
    ]
    ours = {
        "test": {"samples": 10_000, "float_network": 0.93, "converted": 0.925},
        "integer": 0.924,
        "compared": {
            "samples": 2000,
            "float_network": 0.92,
            "converted": 0.91,
            "integer": 0.905,
        },
        "core_seconds": 25.4,
        "steps": steps,
    }
    (folder / "cnn-ours-4.json").write_text(json.dumps(ours))
    (folder / "cnn-uniform-4.json").write_text(json.dumps(ours))
    peer = {"accuracy": {"max": {"4": 0.5, "8": 0.6, "16": 0.7, "32": 0.8}}}
    (folder / "cnn-spikingjelly.json").write_text(json.dumps(peer))
    (tmp_path / "post-training.md").write_text(f"# Page\n{START}\nold\n{END}\nlimits\n")
    return tmp_path


def test_the_page_holds_the_measurements(docs):
    write_page(docs)
    text = (docs / "post-training.md").read_text()
    assert text.startswith("# Page\n")
    assert text.endswith("\nlimits\n")
    assert "old" not in text
    assert "first 2,000 test images. The float network has 92.00." in text
    cells = "| not measured | not measured | not measured |"
    assert f"| mixed T, in float | 91.00 {cells}" in text
    assert f"| mixed T, 8-bit integers | 90.50 {cells}" in text
    assert "On all 10,000 test images, where the float network has 93.00:" in text
    assert f"| mixed T, in float | 92.50 {cells}" in text
    assert "| SpikingJelly, max | 50.00 | 60.00 | 70.00 | 80.00 |" in text
    assert f"| biases | (30.00) {cells}" in text
    assert f"| in the end with uniform T | 20.00 {cells}" in text
    assert "takes 25 to 25 seconds of one core" in text
    assert (docs / "post-training" / "accuracy.png").stat().st_size > 5_000
    write_page(docs)
    assert (docs / "post-training.md").read_text() == text
