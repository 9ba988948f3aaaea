"""Answer a question from a folder of Markdown: chunk, embed, retrieve, stream an answer, and ask before it is kept.

    python examples/retrieval.py "What is compensated, and in which order?"

No network and no model. A passage is embedded by hashing its words, and the trigrams in them, into 1 024 numbers
(feature hashing, Weinberger et al. 2009), which are weighted by how rare they are. The answer is made of the sentences
that are nearest to the question and say different things (maximal marginal relevance, Carbonell and Goldstein 1998).
It is streamed while it is found, and written to a file if somebody approves. Passages that have been embedded in an
earlier run, under the same code, are taken from the cache.
"""

from __future__ import annotations

import argparse
import math
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

import orch
from orch.event import ChunkEvent, InterruptEvent

DIMENSIONS = 1024
NEAREST = 6  # passages that are read for an answer
SENTENCES = 4  # of an answer
NEWS = 0.7  # how much nearness counts; the rest is for saying something new
COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by do does for from has have how if in is it its not of on or so than that the "
        "their them then there these they this to was what when which who why will with",
    )
)

Features = dict[int, float]  # a vector without its zeros, by number of dimension


@dataclass(frozen=True)
class Passage:
    """A few paragraphs under one heading."""

    source: str
    heading: str
    text: str


@dataclass(frozen=True)
class Hit:
    """A passage and how near it is to the question, from 0 to 1."""

    passage: Passage
    score: float


@dataclass(frozen=True)
class Index:
    """The passages as vectors of length 1, and how much each dimension weighs."""

    weights: Features
    rows: list[Features]


# -- chunk -------------------------------------------------------------------------------------------------------------


@orch.task(cache=False)  # what is in the files may have changed
def documents(folder: str) -> dict[str, str]:
    """Read all Markdown in a folder."""
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.md"))}
    if not found:
        raise FileNotFoundError(f"folder: expected one with Markdown files, found none in {folder!r}")
    return found


@orch.task
def passages(documents: dict[str, str], longest: int = 900) -> list[Passage]:
    """Cut documents into passages of whole paragraphs, none across a heading; code is left out."""
    return [passage for source, text in documents.items() for passage in _passages(source, text, longest)]


def _passages(source: str, text: str, longest: int) -> list[Passage]:
    found: list[Passage] = []
    heading, kept = source, ""
    for block in [*re.split(r"\n\s*\n", re.sub(r"(?ms)^```.*?^```\s*?$", "", text)), "# "]:
        is_heading = block.lstrip().startswith("#")
        if kept and (is_heading or len(kept) + len(block) > longest):
            found.append(Passage(source, heading, kept))
            kept = ""
        first, _, below = block.strip().lstrip("# ").partition("\n")
        heading = first if is_heading else heading
        kept = f"{kept}\n\n{below if is_heading else block}".strip()
    return found


# -- embed -------------------------------------------------------------------------------------------------------------


@orch.task
def embed(passage: Passage) -> Features:
    """Embed one passage, by itself: whatever becomes of the others, it can be taken from the cache."""
    return features(f"{passage.heading} {passage.heading} {passage.text}")


def features(text: str) -> Features:
    """Hash words and their trigrams into a few dimensions; what is said ten times does not count ten times."""
    counts: Counter[int] = Counter()
    for word in re.findall(r"[a-z0-9_]{2,}", text.lower()):
        if word not in COMMON:
            parts = [word, *(f"#{word[at : at + 3]}" for at in range(len(word) - 2))]
            counts.update(zlib.crc32(part.encode()) % DIMENSIONS for part in parts)
    return {at: 1 + math.log(count) for at, count in sorted(counts.items())}


@orch.task
def index(vectors: list[Features]) -> Index:
    """Weigh dimensions by how few passages have them, and bring all vectors to one length."""
    having = Counter(at for vector in vectors for at in vector)
    weights = {at: math.log((1 + len(vectors)) / (1 + count)) for at, count in sorted(having.items())}
    return Index(weights, [_unit(vector, weights) for vector in vectors])


def _unit(vector: Features, weights: Features) -> Features:
    weighed = {at: value * weights.get(at, 0.0) for at, value in vector.items()}
    length = math.sqrt(sum(value * value for value in weighed.values())) or 1.0
    return {at: value / length for at, value in weighed.items()}


def _nearness(one: Features, other: Features) -> float:
    return sum(value * other.get(at, 0.0) for at, value in one.items())


# -- retrieve ----------------------------------------------------------------------------------------------------------


@orch.task
def hits(question: str, index: Index, passages: list[Passage], nearest: int = NEAREST) -> list[Hit]:
    """Find the passages that are nearest to the question, the nearest first."""
    asked = _unit(features(question), index.weights)
    scores = [_nearness(asked, row) for row in index.rows]
    best = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:nearest]
    return [Hit(passages[at], round(scores[at], 3)) for at in best]


# -- answer ------------------------------------------------------------------------------------------------------------


@orch.task(cache=False)  # so that it streams every time
async def answer(question: str, hits: list[Hit], index: Index) -> AsyncIterator[str]:
    """Say what the passages say about the question, a sentence at a time."""
    asked, said = _unit(features(question), index.weights), list[Features]()
    left = [(text, _unit(features(text), index.weights), hit) for hit in hits for text in _sentences(hit.passage)]
    while left and len(said) < SENTENCES:
        best = max(left, key=lambda each: each[2].score + NEWS * _nearness(asked, each[1]) - _known(each[1], said))
        left.remove(best)
        said.append(best[1])
        yield f"{best[0]} [{best[2].passage.source}: {best[2].passage.heading}]"
        await anyio.lowlevel.checkpoint()  # a model would take its time here


def _known(row: Features, said: Sequence[Features]) -> float:
    return (1 - NEWS) * max((_nearness(row, other) for other in said), default=0.0)


def _sentences(passage: Passage) -> list[str]:
    lines = [re.sub(r"[*`]|\]\([^)]*\)|\[", "", line) for line in passage.text.split("\n\n") if "|" not in line]
    found = [each.strip(" -\n") for line in lines for each in re.split(r"(?<=[.!?])\s+|\n\s*- ", line)]
    return [re.sub(r"\s+", " ", each) for each in found if len(each) > 30]  # noqa: PLR2004 (no headings, no remains)


def proposal(answer: list[str]) -> str:
    """Ask whether the answer may be kept."""
    return f"Keep this answer of {len(answer)} sentences?"


approval = orch.Interrupt("approval", proposal, type=Literal["yes", "no"])


@orch.task(cache=False)
def kept(question: str, answer: list[str], approval: str, target: str = "answer.md") -> str | None:
    """Write the answer to a file if it was approved, and return where."""
    if approval != "yes":
        return None
    Path(target).write_text("\n\n".join([f"# {question}", *answer]) + "\n", encoding="utf-8")
    return target


workflow = orch.Graph(
    documents,
    passages,
    orch.Graph(embed).as_task(
        "embedding", inputs={"passages": "passage"}, outputs={"embed": "vectors"}, over="passages"
    ),
    index,
    hits,
    answer,
    approval,
    kept,
    name="retrieval",
)


async def ask(question: str, folder: str, cache: str, target: str) -> None:
    """Run the workflow, print the answer as it comes, and pass the question on to whoever sits there."""
    runner = orch.AsyncRunner(cache=orch.DiskCache(cache))
    async with runner.iter(workflow, question=question, folder=folder, target=target) as run:
        async for event in run:
            if isinstance(event, ChunkEvent):
                print(f"- {event.chunk}\n")
            elif isinstance(event, InterruptEvent):
                said = await anyio.to_thread.run_sync(input, f"{event.question} [yes/no] ")
                run.respond("yes" if said.strip().lower() in {"y", "yes"} else "no")
    known = sum(record.cached for record in run.result.tasks.values())
    print(f"kept in {run.result['kept']}" if run.result["kept"] else "not kept", end="; ")
    print(f"{known} of {len(run.result.tasks)} steps were known, {run.result.duration:.2f} s")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="Answer a question from a folder of Markdown.")
    parser.add_argument("question")
    parser.add_argument("--folder", default=str(Path(__file__).parents[1] / "docs"), help="where the Markdown is")
    parser.add_argument("--cache", default=".retrieval-cache", help="where embedded passages are kept")
    parser.add_argument("--target", default="answer.md", help="the file for an answer that is approved")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    args = parser.parse_args()
    anyio.run(ask, args.question, args.folder, args.cache, args.target, backend=args.backend)


if __name__ == "__main__":
    main()
