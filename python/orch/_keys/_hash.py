"""The hash that everything here is made with: BLAKE2b, which is in every Python."""

try:
    from _blake2 import blake2b  # where hashlib has it from, which takes ten times as long to import
except ImportError:  # another Python, or a later one
    from hashlib import blake2b

__all__ = ("blake2b",)
