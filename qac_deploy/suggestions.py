"""Changes that a report suggests, as keywords of ``compile``."""

from __future__ import annotations

from typing import Any

from deploy.report.measure_records import SuggestionRecord
from toolchain.shell_words import words_of

ALL = "*"
"""Key of a mapping that chooses for all that it does not name."""

_TEXTS = {"target", "lowering", "array", "data", "accuracy", "alignment", "align", "optimize"}
_BY_NAME = {"timesteps", "align", "slots", "replicate", "tile_work"}


class Suggestion(SuggestionRecord):
    """A suggested change, with what ``compile`` takes for it.

    ``compile(model, out, **suggestion["keywords"])`` makes the build that its command makes.
    """

    keywords: dict[str, Any]


def suggestion_of(record: SuggestionRecord) -> Suggestion:
    """A suggestion of ``report.json`` with its options as keywords; the build folder is not one of them."""
    return Suggestion(**record, keywords=_keywords(record["command"]))


def _keywords(command: str) -> dict[str, Any]:
    words = iter(words_of(command)[3:])  # behind `qac-deploy compile MODEL`
    found: dict[str, Any] = {}
    for option in words:
        keyword = option.removeprefix("--").replace("-", "_")
        if keyword == "exchange_cores":
            found[keyword] = True
            continue
        text = next(words)
        name, equals, chosen = text.rpartition("=")
        if keyword in _BY_NAME and equals:
            if not isinstance(
                found.setdefault(keyword, {}), dict
            ):  # the number for all comes first
                found[keyword] = {ALL: found[keyword]}
            found[keyword][name] = _value(keyword, chosen)
        else:
            found[keyword] = _value(keyword, text)
    del found["out"]
    return found


def _value(keyword: str, text: str) -> Any:
    if keyword in _TEXTS or keyword == "out":
        return text
    if keyword == "unrolling":
        return [int(size) for size in text.split(",")]
    return float(text) if keyword == "accuracy_budget" else int(text)
