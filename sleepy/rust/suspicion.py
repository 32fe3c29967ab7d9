"""Signs that a program compiles because what did not compile was taken out."""

from __future__ import annotations

from collections import Counter

from sleepy.rust.tokens import Token, tokens

_STUBS = frozenset(
    ("todo", "unimplemented", "unreachable", "panic", "unsafe", "allow", "leak", "transmute", "forget", "ignore")
)
_REMOVED = 12  # tokens; 3 % of the training pairs' repairs leave out more


def suspicious(broken: str, program: str) -> bool:
    """Whether `program`, a repair of `broken`, should be believed last: it is much shorter, it stubs or silences
    something, or a public function is gone, has another number of parameters, or returns something or nothing where it
    did not. Of the repairs of the training pairs 5 % look like that (tests/rust/test_suspicion.py)."""
    before, after = tokens(broken), tokens(program)
    if len(after) < len(before) - _REMOVED:
        return True
    new = {t.text for t in after} - {t.text for t in before}
    return not new.isdisjoint(_STUBS) or bool(_public(before) - _public(after))


def _public(program: list[Token]) -> Counter[tuple[str, int, bool]]:
    """Name, number of parameters, and whether it returns something, of each public function."""
    texts = [t.text for t in program]
    found = []
    for i, text in enumerate(texts):
        if text != "fn" or "pub" not in texts[max(0, i - 4) : i]:
            continue
        depth, parameters, returns = 0, 0, False
        for text in texts[i + 2 :]:
            if depth == 0 and text in ("{", ";", "where"):
                break
            returns = returns or (depth == 0 and text == "->")
            depth += (text in "([{<") - (text in ")]}>")
            parameters += depth == 1 and not returns and text == ":"
        found.append((texts[i + 1], parameters, returns))
    return Counter(found)
