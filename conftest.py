"""Examples are tests: the Python blocks of README.md and docs/, and the prompts in docstrings, run as they stand."""

from doctest import ELLIPSIS

from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

_prose = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],  # `*` goes into folders, too
)
_docstrings = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS)],
    document_types={".py": PythonDocStringDocument},
    patterns=["python/orch/*.py", "python/orch/*/*.py"],  # here it does not: the text is matched from its end
)

pytest_collect_file = (_prose + _docstrings).pytest()
