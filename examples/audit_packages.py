"""Audit the Python environment this runs in: is every installed file what its package says, and whose are the others?

    python -m orch run examples/audit_packages.py:workflow --progress

Each installed distribution is a group of steps: read its RECORD, hash its files in worker threads, compare. Then the
files that nobody owns are found, sizes are added up, and `audit-report.json` and `audit-report.md` are written (or
others, with `--input report=path/without/suffix`). Whatever is wrong is a finding there, never an error of the run.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import platform
import sysconfig
from collections import Counter
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, NamedTuple

import orch

SHARES = 4  # steps that hash the files of one distribution
SHOWN = 15  # findings of a kind in the Markdown report; the JSON has them all
KINDS = {
    "changed": "not what was installed",
    "missing": "recorded, and not there",
    "unreadable": "recorded, and cannot be read",
    "bad-record": "a RECORD, or a line of one, that makes no sense",
    "no-record": "a distribution that does not say what it installed",
    "unowned": "in site-packages, and recorded by no distribution",
    "editable": "installed as a link to its sources",
    "no-hash": "recorded without a hash, so that nothing can be said",
    "outside": "installed outside of site-packages (scripts, data)",
}


Sizes = list[tuple[str, int, int]]


class Finding(NamedTuple):
    """Something that the report tells, of a kind in `KINDS`."""

    kind: str
    package: str
    path: str
    detail: str = ""


class File(NamedTuple):
    """A line of a RECORD, hash as in `sha256=47DEQpj8HBSa…`, and what was found there: hash and size, or trouble."""

    path: str
    recorded: str
    found: str = ""
    size: int = 0
    trouble: str = ""
    detail: str = ""


class Audit(NamedTuple):
    """What is known about a distribution."""

    package: str
    files: list[File]
    findings: list[Finding]


def workflow(*, site: Path | None = None, limit: int = 8) -> orch.Graph:
    """Define the audit of a site-packages folder, by default that of this interpreter.

    At most `limit` of the steps about single distributions run at a time.
    """
    site = Path(site or sysconfig.get_path("purelib")).resolve()
    folders = sorted(each for each in site.iterdir() if each.suffix in {".dist-info", ".egg-info"})
    return orch.Graph(
        orch.Parallel(map(distribution, folders), name="distributions", limit=limit, on_failure="continue"),
        audits,
        orch.Task(unowned, site=site),
        sizes,
        orch.Task(summary, site=site),
        write,
        name="audit_packages",
    )


def distribution(folder: Path) -> orch.Graph:
    """Define the audit of the distribution that has its metadata in `folder`."""
    shares = (orch.Task(look, part=part, name=f"share {part + 1}") for part in range(SHARES))
    return orch.Graph(
        orch.Task(read, folder, output="record"),
        orch.Parallel(shares, name="hashed"),
        orch.Task(compare, output="audit"),
        name=folder.stem,
    )


def read(folder: Path) -> Audit:
    """Read the RECORD, and whether the distribution is installed in editable form."""
    found, package, site = Distribution.at(folder), folder.stem.replace("-", " "), str(folder.parent)
    findings = [Finding("editable", package, url) for url in sources(found)]
    try:
        lines = list(csv.reader((found.read_text("RECORD") or "").splitlines()))
    except (ValueError, csv.Error) as error:
        return Audit(package, [], [*findings, Finding("bad-record", package, str(folder / "RECORD"), str(error))])
    files = [File(os.path.normpath(Path(site, line[0])), "".join(line[1:2])) for line in lines if line and line[0]]
    findings += [Finding("outside", package, each.path) for each in files if not each.path.startswith(site + os.sep)]
    return Audit(package, files, findings if files else [*findings, Finding("no-record", package, str(folder))])


def sources(found: Distribution) -> list[str]:
    """Say where the sources of a distribution are that is installed in editable form."""
    try:
        origin: Any = json.loads(found.read_text("direct_url.json") or "{}")
        return [str(origin["url"])] if origin.get("dir_info", {}).get("editable") else []
    except (ValueError, LookupError, AttributeError):  # whatever installed it wrote something else
        return []


def look(record: Audit, part: int) -> list[File]:
    """Hash one share of the files; a plain function, so this runs in a worker thread."""
    return [look_at(file) for file in record.files[part::SHARES]]


def look_at(file: File) -> File:
    """Hash a file with the algorithm of its record."""
    path, algorithm = Path(file.path), file.recorded.partition("=")[0]
    try:
        if path.exists() and not path.is_file():  # to open a pipe would be to wait for somebody who writes
            return file._replace(trouble="unreadable", detail="not a regular file")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, algorithm).digest() if algorithm else b""
            found = f"{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
            return file._replace(found=found, size=os.fstat(stream.fileno()).st_size)
    except (FileNotFoundError, NotADirectoryError):
        return file._replace(trouble="missing")
    except OSError as error:
        return file._replace(trouble="unreadable", detail=error.strerror or "")
    except (ValueError, TypeError) as error:  # an algorithm that cannot be used, NUL in a path
        return file._replace(trouble="bad-record", detail=str(error))


def compare(record: Audit, hashed: list[list[File]]) -> Audit:
    """Judge what was found by what should be there."""
    files = [file for share in hashed for file in share]
    findings = [finding for file in files for finding in judge(record.package, file)]
    return Audit(record.package, files, record.findings + findings)


def judge(package: str, file: File) -> list[Finding]:
    """Say what is wrong with a file; compiled files come and go, and a RECORD cannot have a hash of itself."""
    path = Path(file.path)
    if not file.recorded and (path.suffix == ".pyc" or (path.parent.suffix == ".dist-info" and path.stem == "RECORD")):
        return []
    if file.trouble or not file.recorded:
        return [Finding(file.trouble or "no-hash", package, file.path, file.detail)]
    if file.recorded.rstrip("=") != file.found:
        return [Finding("changed", package, file.path, f"recorded {file.recorded}, found {file.found}")]
    return []


def audits(distributions: list[dict[str, Any]]) -> list[Audit]:
    """Pick the verdict from what each group gives, which is the mapping of its outputs."""
    return [outputs["audit"] for outputs in distributions]


def unowned(audits: list[Audit], site: Path) -> list[Finding]:
    """Find the files that no distribution has recorded, by the folder or file in site-packages they belong to."""
    owned = {file.path for audit in audits for file in audit.files}
    strays: Counter[str] = Counter()
    for folder, folders, files in os.walk(site):
        folders[:] = [each for each in folders if each != "__pycache__"]
        paths = (os.path.join(folder, each) for each in files)  # noqa: PTH118 (of tens of thousands)
        strays.update(Path(path).relative_to(site).parts[0] for path in paths if path not in owned)
    return [Finding("unowned", "", str(site / top), f"files: {count}") for top, count in sorted(strays.items())]


def sizes(audits: list[Audit]) -> Sizes:
    """List packages with their number of files and bytes, the largest first."""
    rows = [(audit.package, len(audit.files), sum(file.size for file in audit.files)) for audit in audits]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def summary(audits: list[Audit], unowned: list[Finding], sizes: Sizes, site: Path) -> dict[str, Any]:
    """Put the report together, as plain data."""
    findings = sorted([*unowned, *(finding for audit in audits for finding in audit.findings)])
    counts = Counter(finding.kind for finding in findings)
    return {
        "site": str(site),
        "python": platform.python_version(),
        "counts": {kind: counts[kind] for kind in KINDS},
        "packages": [{"package": package, "files": files, "bytes": size} for package, files, size in sizes],
        "findings": [finding._asdict() for finding in findings],
    }


def write(summary: dict[str, Any], report: str = "audit-report", largest: int = 10) -> list[str]:
    """Write the report as JSON and as Markdown; `report` is the path of both, without the suffix."""
    texts = {f"{report}.json": json.dumps(summary, indent=1) + "\n", f"{report}.md": markdown(summary, largest)}
    for path, text in texts.items():
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    return list(texts)


def markdown(summary: dict[str, Any], largest: int) -> str:
    """Write the report for people: counts, the largest packages, and the first findings of each kind."""
    packages = summary["packages"]
    files, size = (sum(package[what] for package in packages) for what in ("files", "bytes"))
    lines = [f"# Audit of {code(summary['site'])}", ""]
    lines += [f"Python {summary['python']}: {len(packages)} packages, {files} files, {size / 1e6:.1f} MB.", ""]
    lines += ["| finding | count | meaning |", "|---|---:|---|"]
    lines += [f"| {kind} | {summary['counts'][kind]} | {meaning} |" for kind, meaning in KINDS.items()]
    lines += ["", "| largest packages | files | MB |", "|---|---:|---:|"]
    lines += [
        f"| {code(each['package'])} | {each['files']} | {each['bytes'] / 1e6:.1f} |" for each in packages[:largest]
    ]
    for kind in KINDS:
        found = [finding for finding in summary["findings"] if finding["kind"] == kind]
        lines += ["", f"## {kind}: {len(found)}", ""] if found else []
        lines += ["- " + ", ".join(code(text) for text in list(each.values())[1:] if text) for each in found[:SHOWN]]
        lines += [f"- and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n".join([*lines, ""])


def code(text: str) -> str:
    """Quote a text so that nothing in it is Markdown."""
    return "`" + (text if text.isprintable() else repr(text)).replace("`", "'").replace("|", "¦") + "`"
