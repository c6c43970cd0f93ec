"""A pace in words."""

from fractions import Fraction

import pytest

from deploy.design.pace import every_ticks


@pytest.mark.parametrize(
    ("ticks", "words"),
    [
        (1, "every tick"), (1.0, "every tick"), ("1", "every tick"), (Fraction(1), "every tick"),
        (3, "every 3 ticks"), (5.5, "every 5.5 ticks"), (Fraction(11, 2), "every 11/2 ticks"),
    ],
)  # fmt: skip
def test_one_is_singular(ticks, words):
    assert every_ticks(ticks) == words
