"""Settings of every test: one thread in each process, and how hypothesis draws examples."""

import os

from hypothesis import HealthCheck, Phase, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; commands inherit it

settings.register_profile("tests", deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "unshrunk", settings.get_profile("tests"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("tests")
