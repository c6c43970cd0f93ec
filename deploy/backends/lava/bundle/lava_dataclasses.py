"""Lets Lava be imported on Python 3.11 and later. Import this before anything of Lava.

In lava-nc 0.10.0, the last release, the module ``lava.magma.compiler.var_model`` defines dataclasses whose
defaults are unhashable (of its own type ``ByteEncoder``). As a default, Python 3.10 refuses a list, dict or
set; Python 3.11 and later refuse everything unhashable, and with it Lava. So that module is imported here
under the rule of 3.10. Then the rule of this Python is back.
"""

import dataclasses
from contextlib import contextmanager


@contextmanager
def unhashable_defaults():
    """Let dataclasses that are made in this context have every default that Python 3.10 takes."""
    get_field = dataclasses._get_field

    def get_field_as_in_python_310(cls, name, *options):
        given = getattr(cls, name, None)
        field = given if isinstance(given, dataclasses.Field) else dataclasses.field(default=given)
        default = field.default
        if type(default).__hash__ is not None or isinstance(default, (list, dict, set)):
            return get_field(cls, name, *options)
        field.default = dataclasses.MISSING  # is not checked
        setattr(cls, name, field)  # dataclass() puts the default in its place
        field = get_field(cls, name, *options)
        field.default = default
        return field

    dataclasses._get_field = get_field_as_in_python_310
    try:
        yield
    finally:
        dataclasses._get_field = get_field


with unhashable_defaults():
    import lava.magma.compiler.var_model  # noqa: F401
