"""Names that somebody chose to break a view."""

from hypothesis import strategies as st

LONGEST_NAME = 1000

WORST = [
    "a\nb",
    "a\r\x1b[31mred",
    "\u202egnp.exe",
    "\ud800",
    "../../etc/passwd",
    '"]; click n0 "javascript:alert(1)"',
    '"`**bold**`"',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&quot;#quot;#35;",
    "end",
    "subgraph x",
    "direction LR",
    "Direction  TB",
    "%%{init: {}}%%",
    "classDef a fill:#fff;",
    "1. first",
    "- item",
    "    code",
    "__init__",
    "a__b_",
    "ﬂ°°35¶ß",
    "~~~",
    "e\u0301\u200d",
    "🎉" * 300,
    "x" * LONGEST_NAME,
]

names = st.one_of(
    st.sampled_from(WORST),
    st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=LONGEST_NAME),
    st.lists(st.sampled_from([*WORST[:-2], " ", "_", "a"]), min_size=1, max_size=5).map("".join),
)
