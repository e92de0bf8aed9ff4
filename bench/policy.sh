#!/usr/bin/env bash
# What a policy costs on every read: get throughput of one server of ours, without any policy and with `rbac` deciding
# about every znode that is read, in alternation. The goal is at most 10 % (docs/performance.md).
#
#   bench/policy.sh
#
# Prints a line for each round, and the best of each. Only the ratio of the two carries over to other machines, and only
# if the machine does nothing else.
#
# Settings from the environment: those of bench/lib.sh, with SECONDS_EACH=4 by default, and
#   CLIENTS   sessions of the load generator (default 64)
#   DEPTH     requests under way for each of them (default 16)
#   PORT      of the server (default 22181)
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_EACH=${SECONDS_EACH:-4} only_ours=1
# shellcheck source=bench/lib.sh
source bench/lib.sh
clients=${CLIENTS:-64} depth=${DEPTH:-16} server=127.0.0.1:${PORT:-22181}

"$binary" serve --listen "$server" --data-dir "$work/data" -D maxClientCnxns=0 > "$work/log" 2>&1 &
pid[ours]=$!
until "$binary" plugin --server "$server" list > /dev/null 2>&1; do
  alive "${pid[ours]}" || { cat "$work/log"; exit 1; }
  sleep 0.1
done

gets() { # gets a second
  "$binary" bench "$server" --json --dir "$work" --op get --seconds "$seconds" --clients "$clients" --depth "$depth" |
    field per_second
}
best() { sort -g "$1" | tail -1; } # file

for round in $(seq "$rounds"); do
  gets >> "$work/without"
  # The roles allow nothing and forbid nothing, so that no znodes are needed. The question that `rbac` is asked, and
  # what its answer depends on, are the same.
  "$binary" plugin --server "$server" deploy bundled:rbac --name rbac --path '/bench/**' --on read --grant read:/rbac \
    --settings '{"otherwise":"abstain"}' > /dev/null
  gets >> "$work/with"
  "$binary" plugin --server "$server" remove rbac > /dev/null
  echo "round $round: $(tail -1 "$work/without") gets/s without, $(tail -1 "$work/with") with rbac"
done
awk -v without="$(best "$work/without")" -v with="$(best "$work/with")" \
  'BEGIN { printf "best: %d gets/s without, %d with rbac, %.1f %% less\n", without, with, 100 * (1 - with / without) }'
