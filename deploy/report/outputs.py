"""What the report says of logits: the accuracy if there is one, and how each output compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the record types import much, and `--help` needs none of it
    from deploy.report.records import FidelityRecord, OutputRecord

NO_ACCURACY = (
    "the logits are not those of one class per sample; define it with --accuracy FILE.py:FUNCTION"
)


def accuracy_text(
    fidelity: FidelityRecord, field: Literal["float_accuracy", "integer_accuracy"]
) -> str:
    """An accuracy: per cent of right classes, or the number that the user's function gives."""
    accuracy = fidelity[field]
    assert accuracy is not None
    return accuracy_number(fidelity["accuracy_function"], accuracy)


def accuracy_number(function: str | None, accuracy: float) -> str:
    """Per cent of right classes, or the number that the user's function gives."""
    return f"{accuracy:.2%}" if function is None else f"{accuracy:.4f}"


def accuracy_sentence(fidelity: FidelityRecord, data: str) -> str | None:
    """Both accuracies in one line; None if there is none."""
    if fidelity["float_accuracy"] is None or fidelity["integer_accuracy"] is None:
        return None
    both = (
        f"float {accuracy_text(fidelity, 'float_accuracy')}, "
        f"integer {accuracy_text(fidelity, 'integer_accuracy')}"
    )
    on = f"on {fidelity['samples']} test samples of {data}: {both}"
    if fidelity["accuracy_function"] is not None:
        return f"{fidelity['accuracy_function']} {on}"
    drop = 100 * (fidelity["float_accuracy"] - fidelity["integer_accuracy"])
    return f"accuracy {on} (drop {drop:.2f} points; same class on {fidelity['same_argmax']})"


def output_sentences(fidelity: FidelityRecord) -> list[str]:
    """For each output that does not choose a class, how its integer logits compare with the float ones."""
    if fidelity["same_argmax"] is not None:
        return []
    return [_output_sentence(output) for output in fidelity["outputs"]]


def _output_sentence(output: OutputRecord) -> str:
    shape = f"{output['channels']} x {output['height']} x {output['width']}"
    share = output["same_argmax_share"]
    same = (
        "" if share is None else f"the same channel is the largest at {share:.2%} of the pixels, "
    )
    return (
        f"output {output['name']} ({shape}), float and integer: {same}the largest difference of two logits "
        f"is {output['largest_difference']:.2%} of the largest logit"
    )
