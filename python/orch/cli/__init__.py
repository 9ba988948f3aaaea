"""The command line: `python -m orch run|show|check module:workflow`."""

from orch.cli._main import main

__all__ = ("main",)
