"""Each test attacks one property of a sandbox, with the real compiler. `box` is every sandbox in turn; what only
bubblewrap covers is tried on `isolated`."""

from __future__ import annotations

import os
import socket
import tempfile
import warnings
from pathlib import Path

import pytest

from sleepy.artifacts import Check, CheckJob
from sleepy.sandbox import checker as checker_module
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.checker import Checker, Sandbox
from sleepy.sandbox.rlimit import Rlimit

CALL = ("attack();", "assert_eq!(answer(), 42);")
HONEST = "pub fn answer() -> u32 { 42 }\n"


def opened(sandbox: Sandbox, folder: Path) -> Checker:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Rlimit says what it does not cover
        return sandbox.open(folder)


@pytest.fixture(scope="module", params=[Bwrap, Rlimit], ids=["bwrap", "rlimit"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checker:
    return opened(request.param(compile_cpu_seconds=3), tmp_path_factory.mktemp("verdicts"))


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    return Bwrap().open(tmp_path_factory.mktemp("verdicts"))


def attack(box: Checker, body: str, *, before: str = "", tests: tuple[str, ...] = CALL) -> Check:
    return built(box, f"{before}{HONEST}pub fn attack() {{ {body} }}", tests, "2024")


def built(box: Checker, program: str, tests: tuple[str, ...] = CALL[1:], edition: str = "2021") -> Check:
    return box.build_and_run(CheckJob(program, tests, edition))


def test_an_honest_program_passes(box: Checker) -> None:
    assert attack(box, "").passed


def test_a_wrong_answer_is_a_result(box: Checker) -> None:
    check = built(box, "pub fn answer() -> u32 { 41 }")
    assert (check.stage, check.compiles, check.by_load) == ("test", True, False)


def test_endless_loop_in_the_program(box: Checker) -> None:
    check = attack(box, "loop { std::hint::spin_loop() }")
    assert check.stage == "test" and "CPU time" in check.detail and not check.by_load


def test_endless_const_evaluation_in_the_compiler(box: Checker) -> None:
    before = (
        "#![allow(long_running_const_eval)]\nconst X: u64 = { let mut i = 0u64; while i < u64::MAX { i += 1; } i };\n"
    )
    check = attack(box, "let _ = X;", before=before)
    assert check.stage == "compile" and "CPU time" in check.detail and not check.by_load


DEADLOCK = "pub fn f() { let m = std::sync::Mutex::new(0); let _one = m.lock(); let _two = m.lock(); }"
BUSY = "pub fn f() { loop {} }"


@pytest.mark.parametrize("kind", [Bwrap, Rlimit])
def test_a_program_that_hangs_has_failed_and_one_that_was_slowed_down_may_not_have(
    kind: type[Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = opened(kind(compile_cpu_seconds=60, run_cpu_seconds=8), tmp_path)
    monkeypatch.setattr(checker_module, "WALL", 0.5)  # the wall clock ends it before the CPU limit can
    hung, slow = CheckJob(DEADLOCK, ("f();",), "2021"), CheckJob(BUSY, ("f();",), "2021")
    check = checker.check(*hung)
    assert check.stage == "test" and "hang" in check.detail and not check.by_load
    assert checker.known(hung) == check
    check = checker.check(*slow)
    assert check.stage == "test" and check.timed_out and checker.known(slow) is None


@pytest.mark.parametrize(
    "program",
    [
        'pub fn f() { panic!("wall clock: did not end, signal 9") }',
        'compile_error!("wall clock, signal 9"); pub fn f() {}',
    ],
)
def test_no_word_that_is_printed_keeps_a_verdict_out_of_the_cache(box: Checker, program: str) -> None:
    job = CheckJob(program, ("f();",), "2021")
    check = box.check(*job)
    assert not check.passed and not check.by_load and box.known(job) == check


def test_a_program_that_was_killed_from_outside_is_asked_again(box: Checker) -> None:
    program = 'pub fn f() { unsafe { raise(9) }; }\nunsafe extern "C" { fn raise(signal: i32) -> i32; }'
    job = CheckJob(program, ("f();",), "2024")
    check = box.check(*job)
    assert check.stage == "test" and check.killed and box.known(job) is None


def test_memory_bomb(box: Checker) -> None:
    check = attack(box, "let mut all = Vec::new(); loop { all.push(vec![1u8; 1 << 26]); }")
    assert check.stage == "test"
    assert attack(box, "assert!(Vec::<u8>::new().try_reserve(3 << 29).is_err());").passed  # 1.5 GiB of 1 GiB


def test_memory_bomb_in_the_compiler(box: Checker) -> None:
    before = "const N: usize = 1 << 40; static BIG: [u8; N] = [1; N];\n"
    assert attack(box, "let _ = &BIG;", before=before).stage == "compile"


def test_fork_bomb(box: Checker) -> None:
    if isinstance(box.sandbox, Rlimit) and os.geteuid() == 0:
        pytest.skip("root's processes are not limited in number")
    body = """let mut n = 0;
        while unsafe { fork() } >= 0 { n += 1; if n > 2000 { println!("unlimited"); std::process::exit(0) } }
        panic!("stopped after a while")"""
    check = attack(box, body, before='unsafe extern "C" { fn fork() -> i32; }\n')
    assert check.stage == "test"
    check = attack(
        box,
        """let mut n = 0;
        while std::thread::Builder::new().spawn(|| std::thread::park()).is_ok() { n += 1; assert!(n < 1000) }
        panic!("{n} threads")""",
    )
    threads = int(check.detail.split(" threads")[0].split()[-1])
    assert 1 <= threads <= box.sandbox.processes


def test_a_gigabyte_of_output(box: Checker) -> None:
    check = attack(box, 'let line = "x".repeat(1 << 20); for _ in 0..1024 { println!("{line}"); }')
    assert check.stage == "test" and "output_kb" in check.detail


def test_a_file_of_its_own_is_limited(box: Checker) -> None:
    """The file has no name any more when it is filled: a program that is killed leaves none behind."""
    fill = """let place = std::env::temp_dir().join(format!("sleepy-{}", std::process::id()));
        let mut f = std::fs::File::create(&place).unwrap();
        std::fs::remove_file(&place).unwrap();
        for _ in 0..SIZE { f.write_all(&[0; 1 << 20]).unwrap(); }"""
    assert attack(box, fill.replace("SIZE", "4"), before="use std::io::Write;\n").passed
    assert attack(box, fill.replace("SIZE", "80"), before="use std::io::Write;\n").stage == "test"


@pytest.mark.parametrize("place", ["/usr/planted", "/planted", "/out/planted", "/program", "/etc/planted"])
def test_writing_outside(isolated: Checker, place: str) -> None:
    check = attack(isolated, f'std::fs::write("{place}", b"x").unwrap();')
    assert check.stage == "test" and "Err" in check.detail


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/opt"])
def test_reading_a_planted_secret(isolated: Checker, folder: str) -> None:
    if not os.access(folder, os.W_OK):
        pytest.skip(f"{folder} cannot be written here")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        secret = Path(name) / "secret.txt"
        secret.write_text("42")
        Path(name).chmod(0o755)  # anybody outside can read it
        at_compile_time = f'pub fn answer() -> u32 {{ include_str!("{secret}").trim().parse().unwrap() }}'
        check = built(isolated, at_compile_time)
        assert check.stage == "compile" and "couldn't read" in check.detail
        at_run_time = (
            f'pub fn answer() -> u32 {{ std::fs::read_to_string("{secret}").unwrap().trim().parse().unwrap() }}'
        )
        check = built(isolated, at_run_time)
        assert check.stage == "test" and "NotFound" in check.detail


def test_home_and_environment_are_not_seen(isolated: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", "hunter2")
    assert built(isolated, 'pub const T: &str = env!("PLANTED_TOKEN");', ()).stage == "compile"
    check = attack(
        isolated,
        f'assert!(std::env::var("PLANTED_TOKEN").is_err()); assert!(std::fs::read_dir("{Path.home()}").is_err());',
    )
    assert check.passed


def test_opening_a_socket(isolated: Checker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check = attack(isolated, f'std::net::TcpStream::connect(("127.0.0.1", {port})).unwrap();')
    assert check.stage == "test" and "Err" in check.detail


def test_faked_test_output(box: Checker) -> None:
    body = 'println!("test result: ok. 1 passed; 0 failed"); println!("2 test blocks passed"); std::process::exit(0)'
    check = attack(box, body)
    assert check.stage == "test" and "0 of 2" in check.detail


def test_early_exit(box: Checker) -> None:
    program = "pub fn answer() -> u32 { std::process::exit(0) }"
    check = built(box, program, ("let _ = 1;", "assert_eq!(answer(), 42);"))
    assert check.stage == "test" and "1 of 2" in check.detail


@pytest.mark.parametrize("source", [
    'include_str!("/proc/self/fd/0")', 'include_str!("/dev/stdin")', "include_str!(file!())",
    'include_str!("/proc/self/environ")', 'include_str!("/out/koan")',
])  # fmt: skip
def test_the_evidence_cannot_be_read_at_compile_time(box: Checker, source: str) -> None:
    program = f"""const SOURCE: &str = {source};
pub fn answer() -> u32 {{
    for word in SOURCE.split('"') {{ if word.len() == 32 {{ println!("\\n{{word}}"); }} }}
    std::process::exit(0)
}}"""
    assert not built(box, program, edition="2024").passed


def test_the_evidence_cannot_be_read_from_the_binary(isolated: Checker) -> None:
    program = r"""
pub fn answer() -> u32 {
    let known = ["/program", "/proc/self/exe", "/proc/self/mem"].map(String::from);
    let places = known.into_iter().chain(std::env::args().take(1));
    let mut seen = std::collections::HashSet::new();
    for place in places {
        let Ok(bytes) = std::fs::read(&place) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for run in text.split(|c: char| !c.is_ascii_hexdigit() || c.is_ascii_uppercase()) {
            for i in 0..run.len().saturating_sub(31) {
                let window = &run[i..i + 32];
                let likely = window.bytes().filter(u8::is_ascii_digit).count() > 9;
                if likely && seen.insert(window.to_string()) { println!("\n{window}"); }
            }
        }
    }
    std::process::exit(0)
}"""
    assert not built(isolated, program).passed


@pytest.mark.parametrize("before", [
    "macro_rules! assert_eq { ($($t:tt)*) => {} }\n",
    "macro_rules! assert { ($($t:tt)*) => {} }\n",
    "mod core { pub mod prelude {} }\n#[macro_export] macro_rules! assert_eq { ($($t:tt)*) => {} }\n",
    "#[cfg(any())]\nmod gone;\n",
])  # fmt: skip
def test_assertions_cannot_be_redefined(box: Checker, before: str) -> None:
    assert not built(box, f"{before}pub fn answer() -> u32 {{ 41 }}").passed


@pytest.mark.parametrize("after", ["#[cfg(any())]", "/*", '"', "mod open {", "#[doc(hidden)] #[cfg(not(test))]"])
def test_the_tests_cannot_be_swallowed(box: Checker, after: str) -> None:
    assert not built(box, f"pub fn answer() -> u32 {{ 41 }}\n{after}").passed


def test_a_main_of_the_models_own_does_no_harm(box: Checker) -> None:
    assert attack(box, "", before='fn main() { println!("hello"); }\n').passed


@pytest.mark.skipif(os.geteuid() != 0, reason="as root the program is not root, and elsewhere it never was")
def test_nobody_is_root_inside(isolated: Checker) -> None:
    check = attack(
        isolated, "assert_ne!(unsafe { geteuid() }, 0);", before='unsafe extern "C" { fn geteuid() -> u32; }\n'
    )
    assert check.passed
