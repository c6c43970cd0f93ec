"""What is said of a conversion, in sentences that every view shares."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.convert.conversion import Conversion, ConversionReport
from toolchain.networks.layer_graph import LayerGraph


def populations_sentence(graph: LayerGraph) -> str:
    """How many populations spike, and their T."""
    activations = [p.timesteps for p in graph.spiking if p.role == "activation"]
    if not activations:
        return "no spiking population"
    least, most = min(activations), max(activations)
    mean = sum(activations) / len(activations)
    steps = f"T = {least}" if least == most else f"T = {least} to {most}, {mean:.2f} on average"
    maxima = len(graph.spiking) - len(activations)
    more = f", and {maxima} of exact max pooling" if maxima else ""
    plural = "s" * (len(activations) > 1)
    return f"{len(activations)} spiking population{plural}, {steps}{more}"


def agreement_sentence(conversion: Conversion) -> str | None:
    """What was compared with the network's own runtime; None if ``convert`` alone compared."""
    agreement = conversion.agreement
    if agreement is None:
        return None
    equal = f"{agreement.num_counts:,} {conversion.compared} and all logits equal"
    if agreement.num_ties:
        equal = (
            f"{agreement.num_counts - agreement.num_ties:,} of {agreement.num_counts:,} "
            f"{conversion.compared} equal; {agreement.num_ties:,} lie on a boundary, and differ by one"
        )
    return f"compared with {conversion.runtime} on {agreement.num_samples} samples: {equal}"


def accuracy_sentence(report: ConversionReport) -> str | None:
    """Accuracy on test images, beside that of the float network if there is one; None if none is known."""
    measured = report.conversion.post_training
    if measured is not None and measured.test is not None:
        test = measured.test
        return (
            f"on {test.samples:,} test images: float network {test.float_network:.2%}, converted "
            f"{test.converted:.2%}; same class on {test.agreement:.2%}"
        )
    if report.accuracy is not None:
        return f"accuracy {report.accuracy.accuracy:.2%} on the first {report.accuracy.samples:,} test images"
    return None


def sentences(report: ConversionReport) -> Iterator[str]:
    """All that a user should know beside the populations."""
    conversion = report.conversion
    for sentence in (
        agreement_sentence(conversion),
        *conversion.notes,
        accuracy_sentence(report),
        report.data_note,
    ):
        if sentence is not None:
            yield sentence
