"""A flowchart for Mermaid. No text of a user is syntax: ids are made here, labels are letters and entities."""

import re
from itertools import pairwise

from orch.event import State
from orch.event._text import cut
from orch.views._tree import DEEPEST, LONGEST, Row, Subject, rows_of

__all__ = ("to_mermaid",)

_HEAD = '%%{init: {"securityLevel": "strict", "htmlLabels": false, "flowchart": {"htmlLabels": false}}}%%\nflowchart TD'
_COLOURS = {State.SUCCEEDED: "#dfe", State.FAILED: "#fdd", State.SKIPPED: "#eee", State.CANCELLED: "#fed"}

# All but letters and digits of any script, commas, slashes, single spaces, and underscores between letters; also the
# space of "direction LR": with that, even inside of quotes, Mermaid takes the whole line for another statement.
_SPECIAL = re.compile(r"[^\w ,/]|(?<![^\W_])_|_(?![^\W_])|(?:(?<= )|^|(?<=direction)) ", re.IGNORECASE)


def to_mermaid(workflow_or_result: Subject, /) -> str:
    """Draw a workflow, plan or result for Mermaid: groups are frames, values solid arrows, mere turns dotted ones.

    >>> import orch
    >>> print(to_mermaid(orch.Sequence(len, abs)))
    %%{init: ...}%%
    flowchart TD
      subgraph n0["sequence"]
        n1["len"]
        n2["abs"]
      end
      n1 --> n2
    """
    rows, arrows = rows_of(workflow_or_result)
    ids = {row.number: f"n{k}" for k, row in enumerate(rows)}
    edges = (f"  {ids[a]} {'-->' if needed else '-.->'} {ids[b]}" for (a, b), needed in arrows.items())
    colours = [(ids[row.number], _COLOURS.get(row.record.state)) for row in rows if row.record]
    styles = (f"  style {name} fill:{colour},color:#222" for name, colour in colours if colour)
    return "\n".join((_HEAD, *_frames(rows, ids), *edges, *styles))


def _frames(rows: list[Row], ids: dict[int, str]) -> list[str]:
    """Give nodes and frames; a frame ends where the next row lies further out."""
    lines: list[tuple[int, str]] = []
    for row, after in pairwise([*rows, rows[0]]):
        text = cut(row.name + row.facts, LONGEST) + (f": {row.record.state.value}" if row.record else "")
        label = _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
        lines.append((row.depth, f'{"subgraph " * (after.depth > row.depth)}{ids[row.number]}["{label}"]'))
        lines += ((depth, "end") for depth in range(row.depth - 1, after.depth - 1, -1))
    return ["  " * min(depth + 1, DEEPEST) + text for depth, text in lines]
