"""Policies: frozen values that say how to react, and the pure decisions made from them."""

from orch.policies._failure import FailureStrategy, Strategy

__all__ = ("FailureStrategy", "Strategy")
