"""Train, convert, compile and simulate mixed-timestep spiking networks, in one import.

>>> import qac_deploy as qd
>>> data = qd.load_data("digits")
>>> module = qd.quantize(MyNetwork())
>>> history = qd.train(module, data, epochs=30, mean_timesteps=2.5)
>>> model = qd.convert(module, data, out="model.pt")
>>> build = qd.compile(model, out="build")
>>> run = build.simulate(data.test_pixels[:16])

The command line does the same with files. Importing this package loads neither torch nor numpy: a function
imports what it needs when it is called.
"""

from typing import TYPE_CHECKING, Any

from qac_deploy.build import Build
from qac_deploy.compilation import compile, load_build
from qac_deploy.conversion import convert, load_model
from qac_deploy.data import load_data
from qac_deploy.history import Epoch, History
from qac_deploy.model import Model
from qac_deploy.pipeline import Pipeline
from qac_deploy.report import Report
from qac_deploy.run import Run
from qac_deploy.suggestions import Suggestion
from qac_deploy.training import network, quantize, train
from toolchain.errors import QacDeployError

if TYPE_CHECKING:
    from toolchain.datasets import Dataset as Dataset

    __version__: str
else:

    def __getattr__(name: str) -> Any:
        if name == "Dataset":
            from toolchain.datasets import Dataset

            return Dataset
        if name == "__version__":
            from importlib.metadata import version

            return version("qac-deploy")
        raise AttributeError(f"module 'qac_deploy' has no attribute '{name}'")


__all__ = [
    "Build",
    "Dataset",
    "Epoch",
    "History",
    "Model",
    "Pipeline",
    "QacDeployError",
    "Report",
    "Run",
    "Suggestion",
    "compile",
    "convert",
    "load_build",
    "load_data",
    "load_model",
    "network",
    "quantize",
    "train",
]
