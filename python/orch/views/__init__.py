"""Views: a workflow, a plan or a result as text that people and diagram tools read."""

from orch.views._mermaid import to_mermaid
from orch.views._tree import to_text

__all__ = ("to_mermaid", "to_text")
