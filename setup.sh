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
clippy_ok() { # in the toolchain of the rustc that is used; where there is none, that is missing first
  local rustc
  rustc=$(find_rustc) || return 0
  [ -x "$("$rustc" --print sysroot)/bin/clippy-driver" ]
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

apt_clippy() { # of the rustc that apt brought; rustup has its own
  local rust
  for rust in rustc rustc-web; do
    if dpkg -s "$rust" >/dev/null 2>&1; then echo "rust${rust#rustc}-clippy"; fi
  done
}

missing_tools() {
  venv_ok || find_python >/dev/null || echo python
  compiler_ok || has_package llama_cpp_python || echo compiler
  find_rustc >/dev/null || echo rust
  clippy_ok || echo clippy
  [ "$(uname)" != Linux ] || have bwrap || echo bubblewrap
}
called() { # what a missing tool is called before a person
  case $1 in
    python) echo "Python 3.11 or newer with venv" ;;
    compiler) echo "a C++ compiler (llama-cpp-python is compiled)" ;;
    rust) echo "rustc 1.$OLDEST_RUST or newer (found: $(rustc --version 2>/dev/null || echo none that runs))" ;;
    clippy) echo "Clippy for that rustc (pairs about style are proven with it)" ;;
    bubblewrap) echo "bubblewrap (without it, sandbox=rlimit, which covers less)" ;;
  esac
}
packages_for() { # the packages of apt or brew that bring the named tools
  local tool
  for tool in "$@"; do
    case $(uname)-$tool in
      Darwin-python) echo python@3.12 ;;
      Darwin-rust | Darwin-clippy) echo rust ;;
      Darwin-*) ;;
      *-python) apt_python ;;
      *-compiler) echo g++ ;;
      *-rust) apt_rust ;;
      *-clippy) apt_clippy ;;
      *) echo "$tool" ;;
    esac
  done
}
lines_for() { # the lines that a person runs to install the named tools
  local packages
  case " $* " in *" clippy "*) if have rustup; then echo "rustup component add clippy"; fi ;; esac
  packages=$(packages_for "$@" | xargs)
  if [ "$(uname)" = Darwin ]; then
    case " $* " in *" compiler "*) echo "xcode-select --install" ;; esac
    if [ -n "$packages" ]; then echo "brew install $packages    (brew: https://brew.sh)"; fi
  elif have apt-get; then
    if [ -n "$packages" ]; then echo "sudo apt-get update && sudo apt-get install -y $packages"; fi
    case " $packages " in
      *" rustup "*) echo "rustup default stable" ;;
      *" rustc"*) ;;
      *) case " $* " in *" rust "*) echo "$RUSTUP" ;; esac ;;
    esac
  else
    case " $* " in *" rust "*) echo "$RUSTUP" ;; esac
    echo "and with your system's package manager: g++, bubblewrap, python3 (those that are missing)"
  fi
}

tools() {
  local missing packages tool log=/dev/null
  missing=$(missing_tools | xargs)
  if [ -z "$missing" ]; then return; fi

  case " $missing " in *" rust "*)
    if have rustup && [ "$(rustup toolchain list 2>/dev/null)" = "no installed toolchains" ]; then
      say "rustup is here, but has no toolchain: trying 'rustup default stable'"
      rustup default stable >/dev/null 2>&1 || say "rustup could not get one"
      missing=$(missing_tools | xargs)
    fi ;;
  esac
  case " $missing " in *" clippy "*)
    if have rustup; then
      rustup component add clippy >/dev/null 2>&1 || say "rustup could not add clippy"
      missing=$(missing_tools | xargs)
    fi ;;
  esac
  if [ -n "$missing" ] && have apt-get && can_be_root; then
    log=$(mktemp)
    step "apt-get update" as_root apt-get update || say "going on with the package lists that are here"
    packages=$(packages_for $missing | xargs)
    # --no-remove, since rustc-web would put Debian's package of rustup out
    [ -z "$packages" ] || step "apt-get install $packages" as_root env DEBIAN_FRONTEND=noninteractive apt-get install \
      -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 $packages || true
    case " $packages " in *" rustup "*) step "rustup default stable" rustup default stable || true ;; esac
    rm "$log"
  elif [ -n "$missing" ] && [ "$(uname)" = Darwin ] && have brew; then
    log=$(mktemp)
    packages=$(packages_for $missing | xargs)
    [ -z "$packages" ] || step "brew install $packages" env NONINTERACTIVE=1 brew install $packages || true
    rm "$log"
  fi

  missing=$(missing_tools | xargs)
  if [ -z "$missing" ]; then return; fi
  say "Missing, and not installed by itself:"
  for tool in $missing; do say "  $(called "$tool")"; done
  say "Installed by:"
  lines_for $missing | sed 's/^/  /' >&2
  [ "$missing" = bubblewrap ] || fail "install what is missing, then run this again"
}

# ---------------------------------------------------------------- what pip brings

pip() { "$PY" -m pip --disable-pip-version-check --no-input "$@"; }

# torch_build: what pip would take, as "cuda" or "plain", told by what that build of torch itself requires.
torch_build() {
  pip install --quiet --dry-run --no-deps --report - "torch==$(pinned torch)" 2>/dev/null | "$PY" -c '
import json, sys
from pip._vendor.packaging.requirements import Requirement
(torch,) = json.load(sys.stdin)["install"]
needs = [Requirement(line) for line in torch["metadata"].get("requires_dist", [])]
needs = [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
print("cuda" if any(name.startswith(("nvidia-", "cuda-")) for name in needs) else "plain")' 2>/dev/null
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
  export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}" # make alone takes one
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

[ "$(uname -sm)" != "Darwin x86_64" ] ||
  fail "torch has had no builds for Intel Macs since 2.3: use Linux, or a Mac with Apple silicon"
tools
venv_ok || {
  python=$(find_python)
  say "making .venv with $("$python" --version) ($python)"
  "$python" -m venv --clear .venv
}

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
