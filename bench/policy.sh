#!/usr/bin/env bash
# What a policy on every read costs: get throughput of one server, without any policy and with `rbac` deciding about every
# node that is read, in alternation. The goal is at most 10 % (docs/performance.md).
#
#   cargo build --release && bench/policy.sh
#
# rounds, seconds, clients and depth can be set in the environment. Prints a line a round and the best of each; only their
# ratio carries over to other machines, and only if nobody else uses this one.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${WASMKEEPER:-target/release/wasmkeeper}
rounds=${rounds:-3} seconds=${seconds:-4} clients=${clients:-64} depth=${depth:-16} port=${port:-22181}
server=127.0.0.1:$port
work=$(mktemp -d)

"$binary" serve --listen "$server" --data-dir "$work/data" -D maxClientCnxns=0 > "$work/log" 2>&1 &
pid=$!
trap 'kill $pid 2> /dev/null || true; wait $pid 2> /dev/null || true; rm -rf "$work"' EXIT
until "$binary" plugin --server "$server" list > /dev/null 2>&1; do
  kill -0 $pid || { cat "$work/log"; exit 1; }
  sleep 0.1
done

# How many gets a second.
gets() {
  "$binary" bench "$server" --json --dir "$work" --op get --seconds "$seconds" --clients "$clients" --depth "$depth" |
    grep -o '"per_second":[0-9.]*' | cut -d: -f2
}

best() { sort -g | tail -1; }

for round in $(seq "$rounds"); do
  gets >> "$work/without"
  # Roles decide nothing here, so that no nodes are needed; the question, and what an answer rests on, are the same.
  "$binary" plugin --server "$server" deploy bundled:rbac --name rbac --path '/bench/**' --on read --grant read:/rbac \
    --settings '{"otherwise":"abstain"}' > /dev/null
  gets >> "$work/with"
  "$binary" plugin --server "$server" remove rbac > /dev/null
  echo "round $round: $(tail -1 "$work/without") gets/s without, $(tail -1 "$work/with") with rbac"
done
awk -v without="$(best < "$work/without")" -v with="$(best < "$work/with")" \
  'BEGIN { printf "best: %d gets/s without, %d with rbac, %.1f %% less\n", without, with, 100 * (1 - with / without) }'
