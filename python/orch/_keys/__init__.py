"""Values as digests, for keys of caches: equal values of equal types have one, in every process; others have others.

Each kind of value is written as bytes that end where they say they end, under a mark of its own, and what holds others
as its kind, their number and each of them in turn. So no two values are written alike. Members of sets, and entries of
mappings, are sorted by what is written of them. Of instances of classes it is the class and the public fields.
"""

from orch._keys._code import Callable, parts_of
from orch._keys._encode import DEPTH, Unhashable, combined, digest
from orch._keys._hash import blake2b

__all__ = ("DEPTH", "Callable", "Unhashable", "blake2b", "combined", "digest", "parts_of")
