"""One call at a time of what torch cannot do in several threads at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_LOCK = RLock()


def one_at_a_time(function: Function) -> Function:
    """Let other threads wait: tracing and ``torch.export`` change state of the whole process."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        with _LOCK:
            return function(*arguments, **options)

    return cast("Function", call)
