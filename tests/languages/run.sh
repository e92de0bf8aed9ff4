#!/usr/bin/env bash
# Builds the same validator with five toolchains, deploys each on one server, and asks each through kazoo.
#
#   tests/languages/run.sh [rust wasip2 js python c]      default: all
#
# `plugin new` makes the projects (for C, tests/languages/c is the project), and `plugin build` builds them. Prints
# sizes and times. Needs cargo, npm, python3 and a network: the toolchains are installed into a folder that is removed
# at the end.
#
# Settings from the environment:
#   WASMKEEPER   the program (default: target/release/wasmkeeper, built if it does not exist)
#   WIT_BINDGEN  the program wit-bindgen with C, version 0.63 (default: built, which takes some minutes)
#   TOOLS        a folder for the toolchains; it is kept
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
languages=${*:-rust wasip2 js python c}
work=$(mktemp -d); tools=${TOOLS:-$work/tools}; mkdir -p "$tools"
server_pid=
trap 'if [[ -n $server_pid ]]; then kill "$server_pid"; wait "$server_pid" || true; fi; rm -rf "$work"' EXIT

wasmkeeper=${WASMKEEPER:-$root/target/release/wasmkeeper}
[[ -x $wasmkeeper ]] || cargo build --release --manifest-path "$root/Cargo.toml"
wasmkeeper=$(realpath "$wasmkeeper")

[[ -x $tools/python/bin/python ]] || python3 -m venv "$tools/python"
python() { "$tools/python/bin/python" "$@"; }
python -c 'import kazoo' 2>/dev/null || python -m pip install --quiet kazoo

# timed COMMAND...: runs it, and prints the seconds that it took
timed() { local began=$EPOCHREALTIME; "$@"; printf '   %s: %.1f s\n' "$1 ${2:-} ${3:-}" "$(echo "$EPOCHREALTIME - $began" | bc)"; }

# Each of these functions leaves $work/short-LANG.wasm.
build_rust() {
  (cd "$work" && "$wasmkeeper" plugin new --lang rust short-rust > /dev/null && cd short-rust &&
    timed "$wasmkeeper" plugin build --out "$work/short-rust.wasm" && cargo test --quiet > /dev/null)
}
build_wasip2() {
  (cd "$work" && "$wasmkeeper" plugin new --lang rust short-wasip2 > /dev/null && cd short-wasip2 &&
    timed "$wasmkeeper" plugin build --target wasm32-wasip2 --out "$work/short-wasip2.wasm")
}
build_js() {
  (cd "$work" && "$wasmkeeper" plugin new --lang js short-js > /dev/null && cd short-js &&
    if [[ -d $tools/node_modules ]]; then ln -s "$tools/node_modules" .; else
      npm install --silent --no-audit --no-fund && cp -r node_modules "$tools/"
    fi && timed "$wasmkeeper" plugin build --out "$work/short-js.wasm")
}
build_python() {
  (cd "$work" && "$wasmkeeper" plugin new --lang python short-python > /dev/null && cd short-python &&
    { [[ -x $tools/python/bin/componentize-py ]] || python -m pip install --quiet -r requirements.txt; } &&
    PATH="$tools/python/bin:$PATH" timed "$wasmkeeper" plugin build --out "$work/short-python.wasm")
}
build_c() {
  local bindgen=${WIT_BINDGEN:-$tools/bin/wit-bindgen}
  [[ -x $bindgen ]] ||
    cargo install --quiet --locked --root "$tools" wit-bindgen-cli --version 0.63.0 --no-default-features --features c
  python -c 'import ziglang' 2>/dev/null || python -m pip install --quiet ziglang
  cp -r "$here/c" "$work/c" && (cd "$work/c" && "$bindgen" c "$root/wit" --world validator > /dev/null &&
    timed python -m ziglang cc --target=wasm32-wasi -mexec-model=reactor -Os -s -Wl,-z,stack-size=65536 -o c.wasm short.c validator.c validator_component_type.o &&
    timed "$wasmkeeper" plugin build c.wasm --out "$work/short-c.wasm")
}

for language in $languages; do
  echo "== $language"
  "build_$language"
done

port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$wasmkeeper" serve --listen "127.0.0.1:$port" --data-dir "$work/data" --log warn,wasmkeeper::guest=info 2> "$work/log" &
server_pid=$!
export WASMKEEPER_SERVER=127.0.0.1:$port
for _ in $(seq 100); do "$wasmkeeper" plugin list > /dev/null 2>&1 && break; sleep 0.1; done

for language in $languages; do
  timed "$wasmkeeper" plugin deploy "$work/short-$language.wasm" --name "short-$language" --path "/$language/**" > "$work/deployed"
  echo "== $language: $(stat -c %s "$work/short-$language.wasm") bytes, deployed in $(grep -o '[0-9.]* s$' "$work/deployed")"
  python "$here/check.py" "127.0.0.1:$port" "$language" || { cat "$work/log"; exit 1; }
done
if [[ $languages == *c* ]] && ! grep -q 'refused /c/bad' "$work/log"; then
  cat "$work/log"; echo "the plugin's log lacks what the C plugin printed"; exit 1
fi
