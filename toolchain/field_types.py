"""Types of fields, with their limits, that the declared types of documents are made of."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

LARGEST_COUNT = 2**31 - 1
LARGEST_INTEGER = 2**63 - 1
LARGEST_NUMBER = 1.7976931348623157e308

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100_000)]
Digest: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}$", extra={"must_be": "a SHA-256 of 64 hexadecimal digits"})
]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_COUNT)]
Integer: TypeAlias = Annotated[int, Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Total: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Finite: TypeAlias = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0, le=LARGEST_NUMBER)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=LARGEST_NUMBER)]
