"""Single values that JSON does not have, as text: each kind of them, and how it is written and read."""

import base64
import math
import re
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from orch._codec._limits import BITS

_Moment = TypeVar("_Moment", datetime, time)
_MOMENT = re.compile(r"([^\[\]]*)(?:\[([^\[\]=]+)\])?(\[_fold=1\])?")  # as in RFC 9557
_MICROSECOND = timedelta(microseconds=1)


class Single(NamedTuple):
    """A kind of value that is written as text."""

    kind: type
    write: Callable[[Any], str]
    read: Callable[[str], object]


def is_plain(value: Any) -> bool:
    """Whether JSON can hold it as it is: exact types only."""
    kind = type(value)
    if kind is str:
        return is_text(value)
    if kind is int:
        return int(value).bit_length() <= BITS
    return value is None or kind is bool or (kind is float and math.isfinite(value))


def is_text(text: str) -> bool:
    """Whether it is without surrogates: two of them would be read as one character."""
    return text.isascii() or _encodes(text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _to_base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _extreme(text: str) -> float:
    if text not in {"nan", "inf", "-inf"}:
        raise ValueError("expected nan, inf or -inf")
    return float(text)


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())  # a name that is none would make zoneinfo import


def _zone(value: datetime | time) -> str:
    """Name the zone, or nothing if the offset in the text says it all."""
    zone = value.tzinfo
    if type(zone) is zoneinfo.ZoneInfo and zone.key in _zones():
        return zone.key
    if zone is None or (type(zone) is timezone and zone.tzname(None) == timezone(zone.utcoffset(None)).tzname(None)):
        return ""
    cure = "use zoneinfo.ZoneInfo with the name of a zone, or a timezone without a name"
    name = zone.key if isinstance(zone, zoneinfo.ZoneInfo) else type(zone).__name__
    raise ValueError(f"the zone {name} cannot be written: {cure}")


def _from_moment(value: datetime | time) -> str:
    zone = _zone(value)
    text = f"{value.replace(tzinfo=None).isoformat()}[{zone}]" if zone else value.isoformat()
    return text + "[_fold=1]" * value.fold


def _to_moment(kind: type[_Moment]) -> Callable[[str], _Moment]:
    def read(text: str) -> _Moment:
        found = _MOMENT.fullmatch(text)
        if found is None:
            raise ValueError("expected an ISO 8601 text, with the name of a zone in brackets if it has one")
        moment = kind.fromisoformat(found[1]).replace(fold=1 if found[3] else 0)
        if found[2] is None:
            return moment
        if moment.tzinfo is not None or found[2] not in _zones():
            raise ValueError(f"expected the name of a known zone and no offset, found {found[2]!r:.60}")
        return moment.replace(tzinfo=zoneinfo.ZoneInfo(found[2]))

    return read


SINGLES: Mapping[str, Single] = MappingProxyType(
    {
        "!!text": Single(
            str,
            lambda text: _to_base64(text.encode("utf-8", "surrogatepass")),
            lambda text: _from_base64(text).decode("utf-8", "surrogatepass"),
        ),
        "!!int": Single(int, hex, lambda text: int(text, 16)),
        "!!float": Single(float, repr, _extreme),
        "!!bytes": Single(bytes, _to_base64, _from_base64),
        "!!bytearray": Single(bytearray, _to_base64, lambda text: bytearray(_from_base64(text))),
        "!!datetime": Single(datetime, _from_moment, _to_moment(datetime)),
        "!!date": Single(date, date.isoformat, date.fromisoformat),
        "!!time": Single(time, _from_moment, _to_moment(time)),
        "!!microseconds": Single(
            timedelta, lambda value: str(value // _MICROSECOND), lambda text: int(text) * _MICROSECOND
        ),
        "!!uuid": Single(UUID, str, UUID),
        "!!decimal": Single(Decimal, str, Decimal),
        **{
            f"!!{kind.__name__}": Single(kind, str, kind)
            for kind in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)
        },
    }
)
NAMES: Mapping[type, str] = MappingProxyType({single.kind: name for name, single in SINGLES.items()})
LISTS: Mapping[type, str] = MappingProxyType({tuple: "!!tuple", set: "!!set", frozenset: "!!frozenset"})
MAPPING, UNSET = "!!dict", "!!unset"
KINDS: tuple[type, ...] = (type(None), bool, list, dict, *LISTS, *NAMES)
