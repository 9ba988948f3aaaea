import builtins
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import orch
from examples.retrieval import Passage, answer, approval, ask, embed, features, passages, workflow

QUESTION = "After how many failures does a breaker open?"

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])

Said = Callable[[str], list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few documents."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "breakers.md").write_text(
        "# Breakers\n\nA breaker opens after five failures in a row.\n\n```\nno breaker opens in code\n```\n\n"
        "## Probes\n\nAfter a minute an open breaker admits exactly one probe.\n"
    )
    (tmp_path / "docs" / "bread.md").write_text(
        "# Bread\n\nBread is baked until the crust sounds hollow when tapped.\n"
    )
    return tmp_path


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Answer what is asked at the terminal, and tell what was asked."""

    def says(text: str) -> list[str]:
        asked: list[str] = []

        def answer(prompt: str) -> str:
            asked.append(prompt)
            return text

        monkeypatch.setattr(builtins, "input", answer)
        return asked

    return says


def run(folder: Path, backend: str) -> None:
    docs, cache, target = (str(folder / each) for each in ("docs", "cache", "answer.md"))
    anyio.run(ask, QUESTION, docs, cache, target, backend=backend)


def test_an_approved_answer_is_kept(folder: Path, backend: str, say: Said, capsys: pytest.CaptureFixture[str]) -> None:
    asked = say("yes")

    run(folder, backend)

    assert asked == ["Keep this answer of 3 sentences? [yes/no] "]
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "- A breaker opens after five failures in a row. [breakers.md: Breakers]"
    kept = (folder / "answer.md").read_text()
    assert kept.startswith(f"# {QUESTION}\n\nA breaker opens after five failures")
    assert "in code" not in kept


def test_an_answer_that_is_not_approved_is_not_kept(
    folder: Path, backend: str, say: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    say("no")

    run(folder, backend)

    assert not (folder / "answer.md").exists()
    assert "not kept; 0 of 11 steps were known" in capsys.readouterr().out


def test_the_second_run_embeds_only_what_is_new(
    folder: Path, backend: str, say: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    say("no")
    run(folder, backend)
    run(folder, backend)
    (folder / "docs" / "cake.md").write_text("# Cake\n\nCake is bread that somebody was unreasonably kind to.\n")
    run(folder, backend)

    told = [line.partition(",")[0] for line in capsys.readouterr().out.splitlines() if "known" in line]

    assert told[0] == "not kept; 0 of 11 steps were known"
    assert told[1] == "not kept; 6 of 11 steps were known"  # not what reads files, streams and asks, and not the map
    assert told[2] == "not kept; 3 of 12 steps were known"  # three passages are as they were


def test_without_anybody_to_ask_it_pauses_and_goes_on_later(folder: Path, backend: str) -> None:
    inputs = {"question": QUESTION, "folder": str(folder / "docs"), "target": str(folder / "answer.md")}

    async def main() -> None:
        runner = orch.AsyncRunner()
        paused = await runner.run(workflow, inputs)
        assert (paused.state, [each.name for each in paused.pauses]) == (orch.State.PAUSED, [approval.name])
        done = await runner.resume(paused, workflow, answers={"approval": "yes"})
        assert done["kept"] == inputs["target"]
        assert done.tasks["answer"].restored

    anyio.run(main, backend=backend)
    assert (folder / "answer.md").exists()


def test_an_empty_folder_is_told_at_once(folder: Path, backend: str) -> None:
    async def main() -> None:
        await orch.run(workflow, question=QUESTION, folder=str(folder))

    with pytest.raises(orch.WorkflowError) as failure:
        anyio.run(main, backend=backend)

    assert "expected one with Markdown files" in str(failure.value.exceptions[0])


@pytest.mark.usefixtures("backend")
def test_passages_are_paragraphs_under_one_heading() -> None:
    found = passages({"a.md": f"intro\n\n# One\n\nfirst\n\n{'long ' * 200}\n\n# Two\nlast"})

    assert [(each.heading, each.text[:5]) for each in found] == [
        ("a.md", "intro"),
        ("One", "first"),
        ("One", "long "),
        ("Two", "last"),
    ]


@pytest.mark.usefixtures("backend")
def test_what_is_said_often_does_not_count_as_often() -> None:
    once, often = features("retry"), features("retry " * 10)

    assert once.keys() == often.keys()
    assert set(once.values()) == {1}
    assert all(3 < value < 4 for value in often.values())
    assert embed(Passage("a.md", "retry", "retry")) == {at: pytest.approx(2.098, abs=1e-3) for at in once}
    assert answer.cache is False
