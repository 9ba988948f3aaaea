import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

import orch
from examples.audit_packages import KINDS, code, workflow
from orch import plan

Report = dict[str, Any]


def sha256(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


class Site:
    """A site-packages folder to put distributions into."""

    def __init__(self, root: Path) -> None:
        self.root = root / "lib" / "site-packages"
        self.root.mkdir(parents=True)

    def put(self, path: str, content: bytes = b"pass\n") -> str:
        """Write a file, and return its line for a RECORD."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return f"{path},{sha256(content)},{len(content)}"

    def install(self, name: str, *lines: str) -> None:
        """Write the metadata of a distribution with these lines in its RECORD."""
        record = f"{name}.dist-info/RECORD"
        metadata = self.put(f"{name}.dist-info/METADATA", f"Name: {name}\n".encode())
        self.put(record, "\n".join([*lines, metadata, f"{record},,"]).encode(errors="surrogateescape"))

    def record(self, name: str) -> Path:
        return self.root / f"{name}.dist-info" / "RECORD"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path)


@pytest.fixture(params=["asyncio", "trio"])
def runner(request: pytest.FixtureRequest) -> orch.Runner:
    return orch.Runner(backend=request.param)


def audited(runner: orch.Runner, site: Site) -> Report:
    result = runner.run(workflow(site=site.root), report="result")
    assert result["write"] == ["result.json", "result.md"]
    report: Report = json.loads(Path("result.json").read_text())
    return report


def found(report: Report, kind: str) -> list[str]:
    return [Path(finding["path"]).name for finding in report["findings"] if finding["kind"] == kind]


def test_a_sound_environment_has_no_findings(runner: orch.Runner, site: Site) -> None:
    site.install("sound-1.0", site.put("sound/__init__.py"), site.put("sound/data.bin", os.urandom(5000)))
    site.install("empty-2.0")
    report = audited(runner, site)
    assert report["findings"] == []
    assert [(each["package"], each["files"]) for each in report["packages"]] == [("sound 1.0", 4), ("empty 2.0", 2)]
    assert report["packages"][0]["bytes"] > 5000


def test_what_is_missing_changed_or_unreadable_is_found(runner: orch.Runner, site: Site) -> None:
    lines = [site.put(f"bad/{name}.py") for name in ("missing", "changed", "folder", "loop", "fine")]
    site.install("bad-1.0", *lines, f"bad/fine.py/below,{sha256(b'')},0")
    (site.root / "bad/missing.py").unlink()
    (site.root / "bad/changed.py").write_text("import this\n")
    for name in ("folder", "loop"):
        (site.root / f"bad/{name}.py").unlink()
    (site.root / "bad/folder.py").mkdir()
    (site.root / "bad/loop.py").symlink_to(site.root / "bad/loop.py")
    report = audited(runner, site)
    assert found(report, "missing") == ["below", "missing.py"]
    assert found(report, "changed") == ["changed.py"]
    assert found(report, "unreadable") == ["folder.py", "loop.py"]
    assert sum(report["counts"].values()) == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(runner: orch.Runner, site: Site) -> None:
    site.install("odd-1.0", site.put("odd.py"))
    (site.root / "odd.py").unlink()
    os.mkfifo(site.root / "odd.py")
    assert found(audited(runner, site), "unreadable") == ["odd.py"]


def test_files_that_nobody_recorded_are_found_by_the_folder_they_are_in(runner: orch.Runner, site: Site) -> None:
    site.install("owner-1.0", site.put("owner/__init__.py"))
    for path in ("owner/extra.py", "stray.py", "strays/a.py", "strays/deep/b.py", "owner/__pycache__/x.pyc"):
        site.put(path)
    report = audited(runner, site)
    assert found(report, "unowned") == ["owner", "stray.py", "strays"]
    assert [finding["detail"] for finding in report["findings"]] == ["files: 1", "files: 1", "files: 2"]


def test_a_distribution_without_a_record_is_a_finding(runner: orch.Runner, site: Site) -> None:
    site.install("lost-1.0", site.put("lost.py"))
    site.record("lost-1.0").unlink()
    (site.root / "legacy-0.1.egg-info").write_text("Name: legacy\n")
    report = audited(runner, site)
    assert found(report, "no-record") == ["legacy-0.1.egg-info", "lost-1.0.dist-info"]
    assert found(report, "unowned") == ["legacy-0.1.egg-info", "lost-1.0.dist-info", "lost.py"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b'a.py,"' + b"x" * 200_000 + b'",1', b"\n,,\n\n"])
def test_a_record_that_cannot_be_read_is_a_finding(runner: orch.Runner, site: Site, content: bytes) -> None:
    site.install("broken-1.0")
    site.record("broken-1.0").write_bytes(content)
    report = audited(runner, site)
    assert len(found(report, "bad-record") + found(report, "no-record")) == 1


def test_lines_that_make_no_sense_are_findings(runner: orch.Runner, site: Site) -> None:
    site.put("here.py")
    site.install("odd-1.0", "here.py,whirlpool=abc,5", "here.py,shake_128=abc,5", "a\0b.py,sha256=abc,5", "here.py,=,")
    report = audited(runner, site)
    assert report["counts"]["bad-record"] == 3
    assert report["counts"]["changed"] == 1


def test_compiled_files_come_and_go_and_other_files_without_a_hash_are_noted(runner: orch.Runner, site: Site) -> None:
    site.put("quiet/settings.ini")
    site.put("quiet/__pycache__/there.pyc")
    caches = [f"quiet/__pycache__/{name}.pyc,," for name in ("there", "gone")]
    site.install("quiet-1.0", *caches, "quiet/settings.ini,,", "quiet/gone.ini,,")
    report = audited(runner, site)
    assert found(report, "no-hash") == ["settings.ini"]
    assert found(report, "missing") == ["gone.ini"]


def test_files_elsewhere_are_noted_and_checked_all_the_same(runner: orch.Runner, site: Site) -> None:
    scripts = [site.put(f"../../bin/{name}") for name in ("tool", "broken")]
    site.install("tools-1.0", *scripts)
    (site.root / "../../bin/broken").write_text("")
    report = audited(runner, site)
    assert found(report, "outside") == ["broken", "tool"]
    assert found(report, "changed") == ["broken"]


@pytest.mark.parametrize(
    "origin, notes",
    [
        ('{"url": "file:///src", "dir_info": {"editable": true}}', ["src"]),
        ('{"url": "file:///src", "dir_info": {}}', []),
        ('{"dir_info": {"editable": true}}', []),
        ("[1]", []),
        ("{", []),
    ],
)
def test_an_editable_installation_is_noted(runner: orch.Runner, site: Site, origin: str, notes: list[str]) -> None:
    path = "linked-1.0.dist-info/direct_url.json"
    site.install("linked-1.0", site.put(path, origin.encode()))
    assert found(audited(runner, site), "editable") == notes


def test_an_empty_site_gives_an_empty_report(runner: orch.Runner, site: Site) -> None:
    report = audited(runner, site)
    assert report["packages"] == report["findings"] == []


def test_the_report_is_written_for_people_too(runner: orch.Runner, site: Site) -> None:
    site.install("we`ird|-1.0", *(f"gone{k}.py,sha256=x,1" for k in range(20)))
    runner.run(workflow(site=site.root))
    text = Path("audit-report.md").read_text()
    assert text.startswith("# Audit of `")
    assert "| missing | 20 | recorded, and not there |" in text
    assert "## missing: 20\n\n- `we'ird¦ 1.0`, `" in text
    assert "- and 5 more\n" in text
    assert all(f"| {kind} |" in text for kind in KINDS)


def test_nothing_in_a_quoted_text_is_markdown() -> None:
    assert code("a`b|c\nd\ud800") == "`'a'b¦c\\nd\\ud800'`"


def test_a_distribution_is_a_group_of_steps_and_the_report_comes_last(site: Site) -> None:
    for k in range(3):
        site.install(f"p-{k}")
    made = plan.compile(workflow(site=site.root, limit=2))
    assert len(made) == 3 * 6 + 5
    assert made.inputs == ("report", "largest")
    assert made.order()[-1] == "write"
    assert made.critical_path()[:3] == [
        "distributions/p-0/read",
        "distributions/p-0/hashed/share 1",
        "distributions/p-0/compare",
    ]


def test_a_step_that_fails_all_the_same_does_not_stop_the_others(
    runner: orch.Runner, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(3):
        site.install(f"p-{k}")
    monkeypatch.setattr("examples.audit_packages.Distribution.at", None)
    result = runner.run(workflow(site=site.root), raise_on_failure=False)
    assert result.state is orch.State.FAILED
    assert len(result.errors) == 3
    assert result.tasks["write"].state is orch.State.SKIPPED
