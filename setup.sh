#!/usr/bin/env bash
# Sets sleepy up in this checkout: C++ compiler, rustc and bubblewrap (installed where apt has them and nobody must be
# asked, else named), .venv, pinned packages. Safe to run again: with nothing to do it takes a fraction of a second.
#
#   bash setup.sh                what run.py needs
#   bash setup.sh dev            and what tests and linters need
#   bash setup.sh quant|cuda|rl|ollama|joblib|submitit|ray ...   further extras of pyproject.toml; several may be named
#
# Takes 2 GB of disk (several more with CUDA) and 1 GB of memory; the main job then takes 3 GB in the cache and up to
# 10 GB of memory.
# shellcheck disable=SC2086  # lists of words are split on purpose
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

OLDEST_RUST=88 # rustc 1.88, the first with let chains, which koans use; sleepy/sandbox/rustc.py asks for the same
EXTRAS=" dev quant cuda rl ollama joblib submitit ray "
WHEELS=${XDG_CACHE_HOME:-$HOME/.cache}/sleepy/wheels
PY=.venv/bin/python
STAMP=.venv/sleepy-setup
LOG=.venv/sleepy-setup.log

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
pinned() { sed -n "s/^$1==//p" constraints.txt; }
digest() { { sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-16; }
step() { # step TEXT COMMAND...: run the command with its output in the log, and show the end of that if it fails
  local text=$1 start=$SECONDS log=$LOG status=0
  shift
  [ -d .venv ] || log=$(mktemp)
  say "$text ..."
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 0 ] && return
  tail -n 25 "$log" >&2
  say "$text: failed after $((SECONDS - start)) s (exit code $status; all output: $log)"
  return "$status"
}

# ---------------------------------------------------------------- what pip cannot bring

python_ok() { "$1" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
venv_ok() { "$PY" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3.14 python3; do
    if python_ok "$name"; then command -v "$name"; return; fi
  done
  return 1
}
new_enough() { # of "rustc 1.95.0 (...)", or of apt's "1.95.0+dfsg1-2"
  local version=${1#rustc }
  version=${version#1.}
  [ "${version%%.*}" -ge "$OLDEST_RUST" ] 2>/dev/null
}
find_rustc() { # the first on PATH that is new enough: a shim of rustup's without a toolchain may stand before it
  local path
  for path in $(type -aP rustc); do
    if new_enough "$("$path" --version 2>/dev/null)"; then echo "$path"; return; fi
  done
  return 1
}
has_package() { # in .venv, at the pinned version, whatever its build
  "$PY" -c 'import sys; from importlib.metadata import version as v
sys.exit(v(sys.argv[1]).split("+")[0] != sys.argv[2])' "$1" "$(pinned "$1")" >/dev/null 2>&1
}
missing() { # a line for each tool that is missing
  local rustc
  venv_ok || find_python >/dev/null || echo "python3-venv: Python 3.11 or newer with venv"
  have "${CXX:-c++}" || has_package llama_cpp_python || echo "g++: a C++ compiler (llama-cpp-python is compiled)"
  if ! rustc=$(find_rustc); then
    echo "rust: rustc 1.$OLDEST_RUST or newer (found: $(rustc --version 2>/dev/null || echo none that runs))"
  elif [ ! -x "$("$rustc" --print sysroot)/bin/clippy-driver" ]; then
    echo "clippy: Clippy for that rustc (pairs about style are proven with it)"
  fi
  [ "$(uname)" != Linux ] || have bwrap || echo "bubblewrap: without it only sandbox=rlimit works, which covers less"
}
names() { missing | cut -d : -f 1 | xargs; }
apt_packages() { # apt_packages NAME...: the packages that bring what is missing, as far as apt has them
  local name rustc
  for name in "$@"; do
    case $name in
      rust | clippy) for rustc in rustc rustc-web; do
          if new_enough "$(LC_ALL=C apt-cache policy $rustc 2>/dev/null | sed -n 's/^  Candidate: //p')"; then
            echo "$rustc rust${rustc#rustc}-clippy"
            break
          fi
        done ;;
      *) echo "$name" ;;
    esac
  done | xargs
}
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }
tools() { # installs what rustup and apt have, and names the rest
  local wanted packages=""
  wanted=$(names)
  case "$wanted" in *rust* | *clippy*) if have rustup; then
    case $(rustup toolchain list 2>/dev/null) in
      "no installed toolchains"*) rustup default stable >/dev/null 2>&1 || say "rustup could not get a toolchain" ;;
      *) rustup component add clippy >/dev/null 2>&1 || say "rustup could not add Clippy" ;;
    esac
    wanted=$(names)
  fi ;; esac
  if [ -n "$wanted" ] && have apt-get; then
    if as_root true 2>/dev/null; then
      step "apt-get update" as_root apt-get update || say "going on with the package lists that are here"
      packages=$(apt_packages $wanted)
      # --no-remove, since rustc-web would put Debian's package of rustup out
      [ -z "$packages" ] || step "apt-get install $packages" \
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 $packages || true
      wanted=$(names)
    fi
    packages=$(apt_packages $wanted)
  fi
  [ -n "$wanted" ] || return 0
  say "Missing, and not installed by itself:"
  missing | sed 's/^/  /' >&2
  say "To install it:"
  [ -z "$packages" ] || say "  sudo apt-get update && sudo apt-get install -y $packages"
  case "$wanted $packages" in
    *rustc*) ;;
    *rust* | *clippy*) say "  rustup (https://rustup.rs), or if you have it: rustup update && rustup component add clippy" ;;
  esac
  have apt-get || say "  the system's package manager; on a Mac xcode-select --install, and https://brew.sh for Python"
  [ "$wanted" = bubblewrap ] || fail "install what is missing, then run this again"
}

# ---------------------------------------------------------------- what pip brings

export PIP_COMPILE=no # Python compiles what is imported; compiling all of it would take a minute
pip() { "$PY" -m pip --disable-pip-version-check --no-input "$@"; }
install_torch() { # a CUDA build is gigabytes of libraries: only where there is a GPU, or nothing else to be had
  local version offered
  version=$(pinned torch)
  if nvidia-smi -L 2>/dev/null | grep -q GPU; then # ===: not a build with a local number such as +cpu
    step "torch $version for CUDA (gigabytes)" pip install -c constraints.txt "torch===$version"
    return
  fi
  offered=$(pip install --quiet --dry-run --no-deps --report - "torch==$version" 2>/dev/null || true)
  if [ "$(uname)" = Linux ] && grep -E '"(nvidia|cuda)-' <<<"$offered" | grep -v 'extra ==' >/dev/null; then
    step "uv, which knows where torch's CPU builds are" pip install -c constraints.txt uv &&
      step "torch $version for the CPU" .venv/bin/uv pip install --python "$PY" --torch-backend=cpu \
        --constraint constraints.txt "torch==$version" && return
    say "No CPU build of torch could be had: taking pip's, a CUDA build of several gigabytes"
  fi
  step "torch $version" pip install -c constraints.txt "torch==$version"
}
build_of() { # what a wheel that is compiled for this CPU depends on
  "$PY" -V
  uname -sm
  echo "${CMAKE_ARGS:-}"
  grep -Em 1 '^(flags|Features)' /proc/cpuinfo 2>/dev/null || true
}
# The folder with llama-cpp-python's wheel for this CPU, compiled once for all checkouts. Only what is imported is
# built: neither the multimodal library nor llama.cpp's common one. llama-cpp-python forces the latter into
# CMake's cache, so it is switched off by a variable, which counts for more.
llama_wheel() {
  local version folder
  version=$(pinned llama_cpp_python)
  folder=$WHEELS/llama-cpp-python-$version-$(build_of | digest)
  if ! compgen -G "$folder/*.whl" >/dev/null; then
    rm -rf "$folder.part" && mkdir -p "$folder.part"
    echo 'set(LLAMA_BUILD_COMMON OFF)' >"$folder.part/only.cmake"
    step "llama-cpp-python $version (compiling takes some minutes)" env SKBUILD_NINJA_MAKE_FALLBACK=false \
      CMAKE_ARGS="-DLLAVA_BUILD=OFF '-DCMAKE_PROJECT_llama_cpp_INCLUDE=$folder.part/only.cmake' ${CMAKE_ARGS:-}" \
      "$PY" -m pip wheel --no-deps --no-cache-dir -w "$folder.part" "llama-cpp-python==$version" || return
    mv "$folder.part" "$folder"
  fi
  echo "$folder"
}
install_packages() { # install_packages EXTRAS, comma-separated
  local wheel=$WHEELS
  has_package torch || install_torch
  has_package llama_cpp_python || wheel=$(llama_wheel)
  case ",$1," in *,cuda,*) # flash-attn is compiled against the torch that is installed, so not in isolation
    step "what flash-attn is built with" pip install -c constraints.txt ninja packaging psutil setuptools wheel
    step "flash-attn (compiling takes long)" pip install -c constraints.txt --no-build-isolation flash-attn ;;
  esac
  step "sleepy${1:+ with $1} and all it needs" pip install -c constraints.txt --find-links "$wheel" -e ".${1:+[$1]}"
}

# ---------------------------------------------------------------- main

wanted=""
for extra in "$@"; do
  case $EXTRAS in *" $extra "*) wanted="$wanted $extra" ;; *) fail "there is no extra '$extra'; choose from:$EXTRAS" ;; esac
done
[ "$(uname -sm)" != "Darwin x86_64" ] || fail "torch has no builds for Intel Macs, only for Apple silicon"
tools
venv_ok || {
  python=$(find_python)
  say "making .venv with $("$python" --version) ($python)"
  "$python" -m venv --clear .venv
}
# The stamp: a digest of all that decides what is installed, then the extras that are.
stamp=$(cat <("$PY" -VV) <(pwd) setup.sh pyproject.toml constraints.txt | digest)
old="" installed=""
[ ! -e "$STAMP" ] || read -r old installed <"$STAMP" || true
extras=""
for extra in $installed $wanted; do # a stamp of an older version may hold other words
  case "$EXTRAS: $extras " in *" $extra "*:*" $extra "*) ;; *" $extra "*) extras="${extras:+$extras }$extra" ;; esac
done
if [ "$old $installed" != "$stamp $extras" ]; then
  rm -f "$STAMP"
  : >"$LOG"
  say "Installing takes 2 GB of disk, and several minutes the first time"
  step "pip 26 or newer (much faster than older ones)" pip install "pip>=26"
  install_packages "${extras// /,}"
  echo "$stamp $extras" >"$STAMP"
fi
say "sleepy is set up ($SECONDS s). Run it: .venv/bin/python run.py"
