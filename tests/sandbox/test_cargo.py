"""A user's project in the sandbox: cargo's errors by file, and a verdict on a new text of one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sleepy.artifacts import CheckJob
from sleepy.errors import DataError
from sleepy.sandbox import cargo
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.cargo import CargoChecker, copied
from sleepy.sandbox.checker import Sandbox
from sleepy.sandbox.rlimit import Rlimit

MAIN = 'mod util;\nfn main() {\n    let n: u32 = util::len("abc");\n    println!("{n}");\n}\n'
UTIL = "pub fn len(s: &str) -> usize {\n    s.len()\n}\n"
DEPENDS = '[dependencies]\nown = { path = "own" }\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a dependency in its own folder; src/main.rs does not compile."""
    for folder, name, rest in ((tmp_path / "p", "demo", DEPENDS), (tmp_path / "p/own", "own", "")):
        (folder / "src").mkdir(parents=True)
        (folder / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{rest}')
    (tmp_path / "p/own/src/lib.rs").write_text("")
    (tmp_path / "p/src/main.rs").write_text(MAIN)
    (tmp_path / "p/src/util.rs").write_text(UTIL)
    return tmp_path / "p"


@pytest.mark.parametrize("sandbox", [Bwrap(), pytest.param(Rlimit(), marks=pytest.mark.filterwarnings("ignore"))])
def test_a_file_of_a_project_is_judged_by_cargo(sandbox: Sandbox, project: Path) -> None:
    with copied(sandbox, project) as copy:
        errors = copy.errors()
        assert list(errors) == ["src/main.rs"] and [d.code for d in errors["src/main.rs"]] == ["E0308"]
        (found,) = errors["src/main.rs"]
        assert found.labels[0][0] == 3 and "line 3:" in found.helps[0]
        checker = CargoChecker(copy, "src/main.rs", errors)
        good, worse = checker.check_all(
            [CheckJob(MAIN.replace("u32", "usize"), (), ""), CheckJob("fn main( {", (), "")]
        )
        assert good.passed and worse.stage == "compile" and worse.diagnostics
        assert copy.errors() == errors  # trying changed nothing
    assert (project / "src/main.rs").read_text() == MAIN and not (project / "Cargo.lock").exists()


def test_a_repair_that_breaks_another_file_is_none(project: Path) -> None:
    (project / "src/main.rs").write_text(MAIN.replace("u32", "usize"))
    (project / "src/util.rs").write_text(UTIL.replace("s.len()", "s.size()"))
    with copied(Bwrap(), project) as copy:
        checker = CargoChecker(copy, "src/util.rs", copy.errors())
        check = checker.check("pub fn len(s: &str) -> u8 {\n    s.len() as u8\n}\n", (), "")
        assert check.stage == "compile" and "other files" in check.detail
        assert checker.check(UTIL, (), "").passed


def test_an_error_inside_a_macro_of_std_is_the_file_s_own(project: Path) -> None:
    bad = "struct S;\nfn main() {\n    assert_eq!(S, S);\n}\n"
    with copied(Bwrap(), project) as copy:
        checker = CargoChecker(copy, "src/main.rs", copy.errors())
        check = checker.check(bad, (), "")
        assert check.stage == "compile" and {"E0369"} <= set(check.codes) and check.diagnostics[0].labels[0][0] == 3
        macro = checker.check('include!("/no/such/file.rs");\nfn main() {}\n', (), "")
        assert macro.stage == "compile"
        assert copy.edition("src/main.rs") == copy.edition("own/src/lib.rs") == "2021"
        (copy.root / "own/Cargo.toml").write_text('[package]\nname = "own"\nedition.workspace = true\n')
        (copy.root / "Cargo.toml").write_text('[workspace.package]\nedition = "2024"\n')
        assert (copy.edition("own/src/lib.rs"), copy.edition("src/main.rs")) == ("2024", "2015")


def test_what_is_no_project_or_cannot_be_built_is_said(project: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no Cargo\.toml"), copied(Bwrap(), tmp_path):
        pass
    (project / "Cargo.toml").write_text((project / "Cargo.toml").read_text() + 'no_such_crate = "1"\n')
    with copied(Bwrap(), project) as copy, pytest.raises(DataError, match=r"(?s)not for an error in the code.*no_such"):
        copy.errors()


def test_a_build_script_sees_nothing_of_the_users(project: Path) -> None:
    (project / "build.rs").write_text(
        f'fn main() {{ if std::fs::read_dir("{project}").is_ok() {{ panic!("the user\'s folder is there") }} }}'
    )
    with copied(Bwrap(), project) as copy:
        assert list(copy.errors()) == ["src/main.rs"]


def test_what_a_build_script_calls_can_be_called(project: Path) -> None:
    (project / "configure").write_text("#!/bin/sh\nexit 0\n")
    (project / "configure").chmod(0o700)
    (project / "build.rs").write_text(
        'fn main() { assert!(std::process::Command::new("./configure").status().unwrap().success()) }'
    )
    with copied(Bwrap(), project) as copy:
        assert list(copy.errors()) == ["src/main.rs"]


def test_a_build_that_does_not_end_is_no_verdict_to_keep(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "build.rs").write_text("fn main() { std::thread::sleep(std::time::Duration::from_secs(9999)) }")
    monkeypatch.setattr(cargo, "_LONGER", 2)
    with copied(Bwrap(compile_cpu_seconds=1), project) as copy:
        with pytest.raises(DataError, match="did not end within 2 s"):
            copy.errors()
        check = CargoChecker(copy, "src/main.rs", {}).check(MAIN, (), "")
    assert check.stage == "compile" and check.timed_out


def test_nobody_else_can_read_the_copy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, who has to let the sandbox's nobody in, the folder around the copy is closed."""
    (project / "secret").write_text("x")
    (project / "secret").chmod(0o600)
    (project / "given").write_text("x")
    (project / "given").chmod(0o444)
    with copied(Bwrap(), project) as copy:
        assert copy.root.parent.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with copied(Bwrap(), project) as copy:
        modes = [(copy.root / name).stat().st_mode & 0o777 for name in ("secret", "given")]
        assert modes == [0o600, 0o644] and copy.root.parent.parent.stat().st_mode & 0o077 == 0


def test_a_repair_must_pass_the_project_s_own_tests(project: Path) -> None:
    own = '#[test]\nfn counts() {\n    assert_eq!(demo::len("abc"), 3);\n}\n'
    (project / "src/main.rs").unlink()
    (project / "src/lib.rs").write_text(UTIL.replace("usize", "u8"))
    (project / "tests").mkdir()
    (project / "tests/own.rs").write_text(own)
    with copied(Bwrap(), project) as copy:
        errors = copy.errors()
        good, wrong, alien = UTIL, UTIL.replace("s.len()", "s.len() + 1"), UTIL.replace("len(s", "size(s")
        strict = CargoChecker(copy, "src/lib.rs", errors, tests=True)
        assert strict.check(good, (), "").passed
        failed = strict.check(wrong, (), "")
        assert (failed.stage, failed.detail) == ("test", "cargo test: counts failed")
        assert "do not compile" in strict.check(alien, (), "").detail
        assert strict.check("pub fn len(", (), "").stage == "compile"
        mild = CargoChecker(copy, "src/lib.rs", errors)
        assert mild.check(wrong, (), "").passed and mild.identity != strict.identity


def test_tests_wait_until_no_file_has_an_error(project: Path) -> None:
    (project / "src/util.rs").write_text(UTIL.replace("s.len()", "s.size()"))
    with copied(Bwrap(), project) as copy:
        checker = CargoChecker(copy, "src/util.rs", copy.errors(), tests=True)
        assert checker.check(UTIL, (), "").passed  # src/main.rs is still broken
