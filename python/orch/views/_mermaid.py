"""A flowchart for Mermaid. No text of a user is syntax: ids are made here, labels are letters and entities."""

import re

from orch.errors import inert
from orch.event import State
from orch.event._text import cut
from orch.views._tree import Row, Subject, edges, tree

__all__ = ("to_mermaid",)

_HEAD = '%%{init: {"securityLevel": "strict", "htmlLabels": false, "flowchart": {"htmlLabels": false}}}%%\nflowchart TD'
_LONGEST, _DEEPEST = 120, 24  # characters of a text before escaping, levels of indentation

# All but letters and digits of any script, commas, slashes, single spaces, and underscores between letters; also the
# space of "direction LR": with that, even inside of quotes, Mermaid takes the whole line for another statement.
_SPECIAL = re.compile(r"[^\w ,/]|(?<![^\W_])_|_(?![^\W_])|(?:(?<= )|^|(?<=direction)) ", re.IGNORECASE)

_COLOURS = {
    State.SUCCEEDED: "fill:#dfe,stroke:#173",
    State.FAILED: "fill:#fdd,stroke:#c22,stroke-width:3",
    State.SKIPPED: "fill:#eee,stroke:#999,stroke-dasharray:3",
    State.CANCELLED: "fill:#fed,stroke:#b50",
}


def to_mermaid(workflow_or_result: Subject, /) -> str:
    """Draw a workflow, a plan or a result as a Mermaid flowchart; groups are frames, a result shows its states.

    A solid arrow leads to a step that needs a value, a dotted one to what only waits for its turn.

    >>> import orch
    >>> print(to_mermaid(orch.Sequence(len, abs)))
    %%{init: ...}%%
    flowchart TD
      subgraph n0["sequence"]
        n1["len"]
        n2["abs"]
      end
      n1 --> n2

    Raises:
        DefinitionError: The definition cannot be run.
    """
    rows, plan = tree(workflow_or_result)
    ids = {row.number: f"n{k}" for k, row in enumerate(rows)}
    arrows = (f"  {ids[a]} {'-->' if needed else '-.->'} {ids[b]}" for (a, b), needed in edges(plan).items())
    return "\n".join((_HEAD, *_frames(rows, ids), *arrows, *_classes(rows, ids)))


def _frames(rows: list[Row], ids: dict[int, str]) -> list[str]:
    """Give nodes and frames; a frame ends where the next row lies further out."""
    lines: list[str] = []
    for row, after in zip(rows, [*(each.depth for each in rows[1:]), 0], strict=True):
        kind = "subgraph " if after > row.depth else ""
        lines.append(f'{_pad(row.depth)}{kind}{ids[row.number]}["{_label(row)}"]')
        lines += (f"{_pad(depth)}end" for depth in range(row.depth - 1, after - 1, -1))
    return lines


def _pad(depth: int) -> str:
    return "  " * (min(depth, _DEEPEST) + 1)


def _label(row: Row) -> str:
    facts = f" ({cut(inert(row.facts), _LONGEST)})" if row.facts else ""
    text = cut(inert(row.name), _LONGEST) + facts + (f": {row.record.state.value}" if row.record else "")
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)


def _classes(rows: list[Row], ids: dict[int, str]) -> list[str]:
    nodes = {state: [ids[row.number] for row in rows if row.record and row.record.state is state] for state in _COLOURS}
    used = [state for state in _COLOURS if nodes[state]]
    looks = [f"  classDef {state.value} {_COLOURS[state]},color:#222" for state in used]
    return looks + [f"  class {','.join(nodes[state])} {state.value}" for state in used]
