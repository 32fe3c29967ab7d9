#!/usr/bin/env bash
# Sets sleepy up in this checkout: what pip cannot bring (C++ compiler, rustc, bubblewrap), .venv, pinned packages.
# Asks nothing. Safe to run again: with nothing to do it takes a fraction of a second.
#
#   bash setup.sh                what run.py needs
#   bash setup.sh dev            and what tests and linters need
#   bash setup.sh quant|cuda|rl|ollama ...   further extras of pyproject.toml; several may be named
# shellcheck disable=SC2086,SC2116  # lists of words are split on purpose
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

OLDEST_RUST=85 # rustc 1.85, the first with edition 2024
EXTRAS=" dev quant cuda rl ollama "
RUSTUP="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
PY=.venv/bin/python
STAMP=.venv/sleepy-setup
LOG=.venv/sleepy-setup.log

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
pinned() { sed -n "s/^$1==//p" constraints.txt; }

# step TEXT COMMAND...: run the command with its output in the log, show the time it takes, and its end if it fails.
step() {
  local text=$1 start=$SECONDS status=0
  shift
  if [ -t 2 ]; then
    (while sleep 1; do printf '\r%s ... %d s ' "$text" $((SECONDS - start)) >&2; done) &
    TICKER=$!
    trap 'kill "$TICKER" 2>/dev/null || true' EXIT
  else
    say "$text ..."
  fi
  "$@" >>"${log:-$LOG}" 2>&1 </dev/null || status=$?
  if [ -t 2 ]; then
    kill "$TICKER" 2>/dev/null || true
    wait "$TICKER" 2>/dev/null || true
    trap - EXIT
    printf '\r\033[K' >&2
  fi
  if [ "$status" -ne 0 ]; then
    tail -n 25 "${log:-$LOG}" >&2
    say "$text: failed after $((SECONDS - start)) s (exit code $status; all output: ${log:-$LOG})"
    return "$status"
  fi
  say "$text: $((SECONDS - start)) s"
}

# ---------------------------------------------------------------- what is there

python_ok() { "$1" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3.14 python3; do
    if python_ok "$name"; then command -v "$name"; return; fi
  done
  return 1
}
venv_ok() { "$PY" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

rustc_ok() {
  local version
  version=$("$1" --version 2>/dev/null) || return 1
  version=${version#rustc 1.}
  [ "${version%%.*}" -ge "$OLDEST_RUST" ] 2>/dev/null
}
find_rustc() { # the first on PATH that answers and is new enough: rustup's shim may stand before it and have no toolchain
  local path
  for path in $(type -aP rustc); do
    if rustc_ok "$path"; then echo "$path"; return; fi
  done
  return 1
}
has_package() { # in .venv, at the pinned version, whatever its build
  "$PY" -c 'import sys; from importlib.metadata import version as v
sys.exit(v(sys.argv[1]).split("+")[0] != sys.argv[2])' "$1" "$(pinned "$1")" >/dev/null 2>&1
}
compiler_ok() { have "${CXX:-c++}" || have g++ || have clang++; }

# ---------------------------------------------------------------- what pip cannot bring

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
can_be_root() { [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

candidate() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)'; }
rust_candidate_ok() {
  local version
  version=$(candidate "$1") || return 1
  version=${version#*:}
  version=${version#1.}
  [ "${version%%.*}" -ge "$OLDEST_RUST" ] 2>/dev/null
}
apt_python() {
  local minor
  for minor in 11 12 13 14; do
    if candidate "python3.$minor-venv" >/dev/null; then echo "python3.$minor-venv"; return; fi
  done
  echo python3-venv
}
apt_rust() { # clippy is a few megabytes more; an old release may have nothing but rustup, or nothing at all
  local rust clippy
  for rust in rustc rustc-web; do
    if rust_candidate_ok "$rust"; then
      clippy=rust${rust#rustc}-clippy
      if candidate "$clippy" >/dev/null; then echo "$rust $clippy"; else echo "$rust"; fi
      return
    fi
  done
  if candidate rustup >/dev/null; then echo rustup; fi
}

tools() {
  local python="" rust="" compiler="" bubblewrap="" packages log=/dev/null
  venv_ok || find_python >/dev/null || python=1
  find_rustc >/dev/null || rust=1
  compiler_ok || has_package llama_cpp_python || compiler=1
  [ "$(uname)" != Linux ] || have bwrap || bubblewrap=1
  if [ -z "$python$rust$compiler$bubblewrap" ]; then return; fi

  if [ -n "$rust" ] && have rustup && [ "$(rustup toolchain list 2>/dev/null)" = "no installed toolchains" ]; then
    say "rustup is here, but without a toolchain"
    if rustup default stable >/dev/null 2>&1 && find_rustc >/dev/null; then rust=""; fi
  fi
  if have apt-get; then
    with_apt
  elif [ "$(uname)" = Darwin ]; then
    with_brew
  fi

  # What is still missing, in one line each.
  [ -z "$bubblewrap" ] || have bwrap ||
    say "bubblewrap is missing: programs under test can only run with sandbox=rlimit, which covers less. Install it: $(line bubblewrap)"
  if [ -n "$python" ] && ! find_python >/dev/null; then
    fail "found no Python 3.11 or newer with venv. Install it and run this again: $(line "$(have apt-get && apt_python || echo python3)")"
  fi
  if [ -n "$compiler" ] && ! compiler_ok; then
    fail "found no C++ compiler (llama-cpp-python is compiled). Install one and run this again: $(line g++)"
  fi
  if [ -n "$rust" ] && ! find_rustc >/dev/null; then
    if have rustup; then
      fail "rustup has no toolchain of 1.$OLDEST_RUST or newer. Run: rustup default stable && rustup update stable"
    fi
    fail "found $(rustc --version 2>/dev/null || echo no rustc), expected 1.$OLDEST_RUST or newer. Install it and run this again: $(line rustc)"
  fi
}

line() { # the one line that installs a package
  local package=$1
  if [ "$(uname)" = Darwin ]; then
    case $package in
      g++) echo "xcode-select --install" ;;
      rustc) echo "${RUSTUP}" ;;
      *) echo "brew install python@3.12 (from brew.sh)" ;;
    esac
  elif have apt-get; then
    if [ "$package" = rustc ]; then package=$(apt_rust); fi
    case $package in
      "") echo "$RUSTUP" ;;
      rustup) echo "sudo apt-get install -y rustup && rustup default stable" ;;
      *) echo "sudo apt-get install -y $package" ;;
    esac
  elif [ "$package" = rustc ]; then
    echo "$RUSTUP"
  else
    echo "the package $package, or what your system calls it"
  fi
}

with_apt() {
  if ! can_be_root; then
    say "some tools are missing, and installing them needs root (sudo asks for a password, and setup.sh asks nothing)"
    return
  fi
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  step "apt-get update" as_root apt-get update || say "going on with the package lists that are here"
  packages="${python:+$(apt_python)} ${compiler:+g++} ${bubblewrap:+bubblewrap} ${rust:+$(apt_rust)}"
  packages=$(echo $packages)
  if [ -n "$packages" ]; then
    # --no-remove, since rustc-web would put Debian's package of rustup out
    step "apt-get install $packages" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
      --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 $packages || true
  fi
  case " $packages " in *" rustup "*) step "rustup default stable" rustup default stable || true ;; esac
  rm -f "$log"
}

with_brew() {
  have brew || return 0
  packages=$(echo ${python:+python@3.12} ${rust:+rust})
  log=$(mktemp)
  if [ -n "$packages" ]; then NONINTERACTIVE=1 step "brew install $packages" brew install $packages || true; fi
  rm -f "$log"
}

# ---------------------------------------------------------------- what pip brings

pip() { "$PY" -m pip --disable-pip-version-check --no-input "$@"; }

# torch_build: what pip would take, as "cuda" or "plain" (a CPU build, or a Mac's).
torch_build() {
  pip install --quiet --dry-run --report - "torch==$(pinned torch)" 2>/dev/null | "$PY" -c '
import json, sys
names = [item["metadata"]["name"].lower() for item in json.load(sys.stdin)["install"]]
print("cuda" if any(name.startswith(("nvidia-", "cuda-")) for name in names) else "plain")' 2>/dev/null
}
install_torch() { # a CUDA build is gigabytes of libraries: only where there is a GPU for them, or nothing else to be had
  local version
  version=$(pinned torch)
  if nvidia-smi -L 2>/dev/null | grep -q GPU; then # ===: not a build with a local number such as +cpu
    step "torch $version for CUDA (gigabytes)" pip install -c constraints.txt "torch===$version"
  elif [ "$(uname)" = Darwin ] || [ "$(torch_build)" = plain ]; then
    step "torch $version" pip install -c constraints.txt "torch==$version"
  elif step "uv, which knows where torch's CPU builds are" pip install -c constraints.txt uv &&
    step "torch $version for the CPU" .venv/bin/uv pip install --python "$PY" --torch-backend=cpu \
      --constraint constraints.txt "torch==$version"; then
    :
  else
    say "No CPU build of torch could be had: taking pip's, a CUDA build of several gigabytes"
    step "torch $version" pip install -c constraints.txt "torch==$version"
  fi
}

install_packages() { # install_packages EXTRAS, comma-separated
  has_package torch || install_torch
  if ! has_package llama_cpp_python; then
    if pip cache list "llama_cpp_python-$(pinned llama_cpp_python)" 2>/dev/null | grep whl >/dev/null; then
      say "llama-cpp-python: compiled before, taken from pip's cache"
    else
      say "llama-cpp-python has no wheel: compiling it takes about four minutes on two cores"
    fi
  fi
  export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$("$PY" -c 'import os; print(os.cpu_count())')}"
  case ",$1," in
    *,cuda,*) # flash-attn is compiled against the torch that is installed, so not in isolation
      step "what flash-attn is built with" pip install -c constraints.txt ninja packaging psutil setuptools wheel
      step "flash-attn (compiling takes long)" pip install -c constraints.txt --no-build-isolation flash-attn
      ;;
  esac
  step "sleepy${1:+ with $1} and all it needs" pip install -c constraints.txt -e ".${1:+[$1]}"
}

# ---------------------------------------------------------------- main

wanted=""
for extra in "$@"; do
  case $EXTRAS in *" $extra "*) wanted="$wanted $extra" ;; *) fail "found '$extra', expected one of:$EXTRAS" ;; esac
done

tools
venv_ok || {
  python=$(find_python)
  say "making .venv with $("$python" --version) ($python)"
  "$python" -m venv --clear .venv
}
"$PY" -c 'import sys; sys.exit((sys.platform, __import__("platform").machine()) == ("darwin", "x86_64"))' ||
  fail "torch has had no builds for Intel Macs since 2.3: use Linux, or an Apple silicon Mac"

# The stamp: a digest of all that decides what is installed, then the extras that are.
stamp=$(cat <("$PY" -VV) <(pwd) setup.sh pyproject.toml constraints.txt | { sha256sum 2>/dev/null || shasum -a 256; })
before=$(cat "$STAMP" 2>/dev/null || true)
installed=$(echo "$before" | tail -n +2)
missing=""
for extra in $wanted; do
  case " $installed " in *" $extra "*) ;; *) missing="$missing $extra" ;; esac
done
if [ "$(echo "$before" | head -n 1)" != "$stamp" ] || [ -n "$missing" ]; then
  extras=$(echo $installed $missing)
  rm -f "$STAMP"
  : >"$LOG"
  step "pip 23.2 or newer" pip install "pip>=23.2"
  install_packages "${extras// /,}"
  printf '%s\n%s\n' "$stamp" "$extras" >"$STAMP"
fi
say "sleepy is set up ($SECONDS s). Run it: .venv/bin/python run.py"
