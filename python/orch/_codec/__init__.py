"""Values as JSON: what is read is equal to what was written, in value and type, or there is a `CodecError`.

What JSON has is written as it is. Everything else stands in an object with a single key that begins with "!": two of
them and a word for what Python has (`{"!!set": [1, 2]}`), one and the name of a class for its instances
(`{"!Order": {"total": 12}}`). A mapping whose keys are not all harmless text is a list (`{"!!dict": [1, "a"]}`), so
data that looks like a marker is none.

A name in the data finds nothing by itself: it chooses among the classes that the caller and his annotations name.
"""

from orch._codec._document import read, write
from orch._codec._value import read_value, write_value

__all__ = ("read", "read_value", "write", "write_value")
