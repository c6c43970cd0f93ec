"""One error class per thing a user can put right; the command line turns each into exit code 2."""


class QacDeployError(Exception):
    """Base of every error that is the input's fault and not ours."""


class ModelFileError(QacDeployError):
    """A model file or build folder is missing, damaged, or holds something it must not."""


class UnsupportedNetworkError(QacDeployError):
    """A network has a structure that cannot become soft-reset integrate-and-fire populations."""


class IntegerWidthError(QacDeployError):
    """An integer bound exceeds a width of the target."""


class MappingError(QacDeployError):
    """A network does not fit on the target's cores."""


class TargetError(QacDeployError):
    """A hardware description is missing a figure, or holds one that cannot be."""


class DataError(QacDeployError):
    """A data set is unknown, missing, or does not have the network's input shape."""


class LavaError(QacDeployError):
    """No usable Lava interpreter was found, or a Lava run failed."""


class RtlError(QacDeployError):
    """No simulator of hardware descriptions was found, or a simulation of the array's RTL failed."""


class SanafeError(QacDeployError):
    """SANA-FE is not installed, or a run in it failed."""


class DeviceError(QacDeployError):
    """A device is not there, or computes with fewer bits than exact integers need."""


class ClusterError(QacDeployError):
    """Dask is not installed, or its scheduler or workers cannot be used."""
