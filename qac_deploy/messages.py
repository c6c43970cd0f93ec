"""Messages of the toolchain for Python: options of the command line become keywords."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar, cast

from toolchain.errors import OptionError, QacDeployError
from toolchain.optional_packages import optional_packages

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTION = re.compile(
    r"(?P<command>`[^`]*`)"  # a whole command stays as it is
    r"|(?<![\w-])--(?P<name>[a-z]+(?:-[a-z]+)*)"
    r"(?: (?P<shape>\d+x\d+x\d+)| (?P<number>\d[\d,.]*\b)| FILE\.py:FUNCTION)?"
)


def speaks_python(function: Function) -> Function:
    """Let a function name its own keywords in the errors of the toolchain, and refuse unknown ones.

    ``add --data`` becomes ``add 'data'``, and ``--mean-timesteps 4`` becomes ``mean_timesteps=4``.

    Raises:
        OptionError: a keyword is unknown, or a positional argument is missing or too many.
        MissingPackageError: an optional package, such as torch, is not installed.
    """
    signature = inspect.signature(function)
    keywords = [name for name in signature.parameters if name != "self"]

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            signature.bind(*arguments, **options)
        except TypeError as error:
            raise OptionError(_unbound(function.__name__, str(error), options, keywords)) from None
        try:
            with optional_packages():
                return function(*arguments, **options)
        except QacDeployError as error:
            if error.args and isinstance(error.args[0], str):
                error.args = (in_python(error.args[0], keywords), *error.args[1:])
            raise

    return cast("Function", call)


def in_python(message: str, keywords: Collection[str]) -> str:
    """A message with keywords in place of the options of a command."""

    def keyword(found: re.Match[str]) -> str:
        name = (found["name"] or "").replace("-", "_")
        if name not in keywords:
            return found[0]
        if found["shape"]:
            return f"{name}=({found['shape'].replace('x', ', ')})"
        return f"{name}={found['number']}" if found["number"] else f"'{name}'"

    return _OPTION.sub(keyword, message)


def _unbound(name: str, reason: str, options: Collection[str], keywords: Collection[str]) -> str:
    for option in options:
        if option not in keywords:
            near = get_close_matches(option, keywords, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            return f"{name} has no option '{option}'; {hint}It takes {', '.join(keywords)}"
    return f"{name}: {reason}; it takes {', '.join(keywords)}"
