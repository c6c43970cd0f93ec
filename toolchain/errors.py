"""One error class per kind of problem that a user can solve; the command line exits with code 2."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from toolchain.printable import printable


class QacDeployError(Exception):
    """Base of every error that is caused by the input, not by a bug.

    Its text is one line of printable characters, whatever names it repeats; further lines follow below.

    Attributes:
        further: lines below the message, such as what another program said.
    """

    def __init__(self, message: str = "", *, further: str = "") -> None:
        super().__init__(message)
        self.further = further

    def __str__(self) -> str:
        message = printable(super().__str__())
        return "\n".join(
            [message, printable(self.further, keep="\n")] if self.further else [message]
        )


class ModelFileError(QacDeployError):
    """A model file or build folder is missing, damaged, or holds something it must not."""


class UnsupportedNetworkError(QacDeployError):
    """A network has a structure that cannot become soft-reset integrate-and-fire populations."""


class IntegerWidthError(QacDeployError):
    """An integer bound exceeds a width of the target."""


class MappingError(QacDeployError):
    """A network does not fit on the target's cores.

    Attributes:
        needed_cores: of each population, where only their number is too large; else None.
        reason: what takes these cores and what would fit, without their number; else the message.
    """

    def __init__(
        self,
        message: str,
        needed_cores: Mapping[str, int] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.needed_cores = needed_cores
        self.reason = reason or message


class OptionError(QacDeployError):
    """An option does not suit the network: it names what is not there, or chooses an impossible number."""


class TargetError(QacDeployError):
    """A hardware description lacks a figure, or holds an impossible one."""


class DataError(QacDeployError):
    """A data set is unknown, missing, or does not have the network's input shape."""


class AccuracyError(QacDeployError):
    """A user's own function for the accuracy cannot be found, fails, or returns no finite number."""


class TraceError(QacDeployError):
    """A population, neuron, sample or condition of a trace is not in the build or its run."""


class LavaError(QacDeployError):
    """No usable Lava interpreter was found, or a Lava run failed."""


class RtlError(QacDeployError):
    """No simulator of hardware descriptions was found, or a simulation of the array's RTL failed."""


class SanafeError(QacDeployError):
    """SANA-FE is not installed, or a run in it failed."""


class DeviceError(QacDeployError):
    """A device is not available, or computes with fewer bits than exact integers need."""


class EngineError(QacDeployError):
    """An engine of the table does not do what every engine must."""


class ClusterError(QacDeployError):
    """Dask is not installed, or its scheduler or workers cannot be used."""


class MissingPackageError(QacDeployError):
    """An optional package is not installed, or too old."""


@contextmanager
def errors_of_file(path: Path | str) -> Iterator[None]:
    """Say a file in front of errors that name a part of it alone, such as a node."""
    try:
        yield
    except (ModelFileError, UnsupportedNetworkError) as error:
        named = str(error).removeprefix(f"{printable(path)}: ")
        raise type(error)(f"{path}: {named}") from error.__cause__
