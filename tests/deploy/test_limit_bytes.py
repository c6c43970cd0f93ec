"""``--limit-bytes``: every command that reads data has it, and it decides before memory is taken."""

import numpy as np
import pytest
import typer

from deploy.cli.main import app

COMMANDS = typer.main.get_command(app).commands
READ_DATA = {
    "train", "calibrate", "compile", "convert", "simulate", "trace", "explore", "reproduce", "compare",
    "verify", "cross-check", "export",
}  # fmt: skip


def options(command):
    return {option for parameter in COMMANDS[command].params for option in parameter.opts}


def test_every_command_that_reads_data_has_the_limit():
    assert {name for name in COMMANDS if "--limit-bytes" in options(name)} == READ_DATA
    assert {name for name in COMMANDS if "--data" in options(name)} <= READ_DATA


@pytest.fixture
def own(tmp_path):
    pixels = np.zeros((40, 1, 8, 8), np.uint8)
    labels = np.arange(40) % 2
    np.savez(
        tmp_path / "own.npz", train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels
    )  # fmt: skip


@pytest.mark.usefixtures("own")
def test_a_data_file_above_the_limit_is_refused_with_what_raises_it(qac_deploy, tmp_path):
    train = ("train", "--data", "own.npz", "--width", "0.1", "--epochs", "1")
    process = qac_deploy(*train, "--limit-bytes", "5000")
    assert process.returncode == 2
    said = " ".join(process.stderr.split())
    assert "own.npz: its arrays would take 5,760 bytes of memory, above the limit of 5,000" in said
    assert "add --limit-bytes 5760" in said
    assert not (tmp_path / "model.pt").exists()
    process = qac_deploy(*train, "--limit-bytes", "5760", QAC_DEPLOY_LIMIT_BYTES="100")
    assert process.returncode == 0, process.stderr
