"""The compiler's words: short, and as sets that make errors comparable."""

from __future__ import annotations

from sleepy.artifacts import Diagnostic, Task
from sleepy.rust.drawn import drawn_errors, undrawn_words
from sleepy.rust.messages import short_message, spoken_lines, spoken_words
from sleepy.sandbox.checker import Checker

DRAWN = """error[E0382]: use of moved value: `names`
 --> main.rs:12:9
   |
12 |     total(names);
   |           ^^^^^ value of type `Vec<String>` used 2 times
"""


def test_a_sign_that_only_python_takes_for_the_end_of_a_line_moves_no_place(checker: Checker, koan: Task) -> None:
    program = f"// one\u2028line\x0cstill\x85\n{koan.broken}"
    errors = checker.check(program, (), "2021").diagnostics
    assert "line 8: `format!(" in short_message(errors, program)
    task = Task(**{**vars(koan), "broken": program, "message": errors[0].rendered})
    (found,) = drawn_errors(task)
    assert found.labels and set(found.labels) <= set(errors[0].labels)


def test_what_is_compared_is_what_the_compiler_says() -> None:
    assert spoken_lines(DRAWN) == {"use of moved value: `_`", "value of type `_<_>` used 0 times"}
    assert {"names", "vec", "string", "moved"} <= spoken_words(DRAWN) and "total" not in spoken_words(DRAWN)
    assert {"error", "E", "names", "Vec", "<"} <= undrawn_words(DRAWN) and "total" not in undrawn_words(DRAWN)


def test_a_short_message_names_each_error_once() -> None:
    one = Diagnostic("E0382", "moved", ((1, "here"), (9, "")), ("clone it", "or not"), "")
    shown = short_message([one, one], "fn f() {}\n")
    assert shown == "error[E0382]: moved\n  line 1: `fn f() {}` <- here\n  line 9: ``\n  help: clone it"
    many = [Diagnostic("", f"m{i}", (), (), "") for i in range(9)]
    assert short_message(many, "").endswith("error: m5\nand 3 more errors")
    assert short_message([one], "fn f() {}\n", help=False) == shown.removesuffix("\n  help: clone it")
