"""The experiments by name, in the order of the results page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from deploy.reproduce.bits import MEAN_TIMESTEPS, WEIGHT_BITS, bits
from deploy.reproduce.direct_training import table6
from deploy.reproduce.experiment import Experiment
from deploy.reproduce.fidelity import calibration, summary, table3
from deploy.reproduce.methods import baselines, compare_methods, table8
from deploy.reproduce.paper import PaperData, nearest_network, paper_data
from deploy.reproduce.study import Study
from deploy.reproduce.timesteps import (
    budget,
    fig3,
    four_quantizers,
    layer_timesteps,
    table4,
    table5,
)


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How one table or figure is made.

    Attributes:
        run: function of a study and the number of test images to measure on.
        title: what the paper shows, or what the experiment is about if the paper has nothing like it.
        data, networks: of the paper; no data set if the paper has nothing like it.
        trains: kinds of the networks that are trained for it.
        passes: about how many passes through the network it takes per test image.
    """

    run: Callable[[Study, int], Experiment]
    title: str
    data: tuple[PaperData, ...] = ()
    networks: tuple[str, ...] = ("resnet-18", "resnet-20", "vgg-16")
    trains: tuple[str, ...]
    passes: int = 0

    def suits(self, study: Study) -> bool:
        """Whether the paper shows this of the network and data set that are the study's own or nearest."""
        return paper_data(study) in self.data and nearest_network(study) in self.networks


_FLOAT = ("float", "float-continued")
_QAC = (*_FLOAT, "qac-case4")
_QCFS = (*_FLOAT, "qcfs-L4")
_METHODS = (*_QAC, "qcfs-L4", "sliprelu-L4")
_CASES = ("float", *(f"unbudgeted-case{case}" for case in (1, 2, 3, 4)), "unbounded-case3")
_BUDGETS = (*_FLOAT, "unbudgeted-case4", "qac-mean3", "qac-mean2", "qac-interval3", "qac-interval2")
_INTEGERS = (
    *_QAC,
    f"qac-mean{MEAN_TIMESTEPS:g}",
    *(
        f"{kind}-integers{num_bits}"
        for kind in ("qac-case4", f"qac-mean{MEAN_TIMESTEPS:g}")
        for num_bits in WEIGHT_BITS
    ),
)
_CIFAR: tuple[PaperData, ...] = ("cifar-10", "cifar-100")
_ALL: tuple[PaperData, ...] = (*_CIFAR, "imagenet")


def _layers(figure: str, network: str, data: PaperData) -> Reproduction:
    return Reproduction(
        run=partial(layer_timesteps, figure=figure, network=network, data=data),
        title=f"{figure.replace('fig', 'Figure ')}, timesteps and bit width per layer",
        data=(data,),
        networks=(network,),
        trains=_QAC,
    )


def _methods(table: str, data: PaperData, *networks: str) -> Reproduction:
    return Reproduction(
        run=partial(compare_methods, table=table, data=data),
        title=f"{table.replace('table', 'Table ')}, conversion methods",
        data=(data,),
        networks=networks,
        trains=_METHODS,
        passes=350,
    )


EXPERIMENTS: dict[str, Reproduction] = {
    "summary": Reproduction(
        run=summary, title="From the float ANN to integers", trains=(*_QAC, "qcfs-L4"), passes=12
    ),
    "table1": _methods("table1", "cifar-10", "vgg-16", "resnet-18", "resnet-20"),
    "table2": _methods("table2", "imagenet", "vgg-16"),
    "table3": Reproduction(
        run=table3, title="Table 3, calibration", data=_ALL, trains=_QAC, passes=30
    ),
    "table4": Reproduction(
        run=table4, title="Table 4, temporal alignment", data=_CIFAR, trains=_QAC, passes=12
    ),
    "table5": Reproduction(
        run=table5, title="Table 5, temporal scaling", data=_CIFAR, trains=_QAC, passes=8
    ),
    "table6": Reproduction(
        run=table6, title="Table 6, direct training", data=_CIFAR, networks=("resnet-20",), trains=_QAC,
        passes=30,
    ),
    "table7": _methods("table7", "cifar-100", "vgg-16", "resnet-18", "resnet-20"),
    "table8": Reproduction(
        run=table8, title="Table 8, averaging on QCFS", data=_CIFAR, networks=("resnet-20", "vgg-16"),
        trains=_QCFS, passes=25,
    ),
    "fig1": _layers("fig1", "vgg-16", "cifar-10"),
    "fig3": Reproduction(
        run=fig3, title="Figure 3, temporal scaling", data=_CIFAR, trains=_QAC, passes=8
    ),
    "fig5": _layers("fig5", "resnet-18", "cifar-10"),
    "fig6": _layers("fig6", "resnet-18", "cifar-100"),
    "fig7": _layers("fig7", "resnet-20", "cifar-10"),
    "fig8": _layers("fig8", "resnet-20", "cifar-100"),
    "fig9": _layers("fig9", "vgg-16", "cifar-100"),
    "fig10": _layers("fig10", "vgg-16", "imagenet"),
    "fig11": Reproduction(
        run=four_quantizers, title="Figure 11, four quantizers", data=_CIFAR,
        networks=("resnet-20", "vgg-16"), trains=_CASES, passes=4,
    ),
    "baselines": Reproduction(
        run=baselines, title="Conversion methods", trains=_METHODS, passes=350
    ),
    "calibration": Reproduction(
        run=calibration, title="Calibration of lossy conversions", trains=_QAC, passes=40
    ),
    "bits": Reproduction(
        run=bits, title="Weight bits and mean T", trains=_INTEGERS, passes=25
    ),
    "budget": Reproduction(run=budget, title="Timestep budgets", trains=_BUDGETS, passes=15),
}  # fmt: skip
