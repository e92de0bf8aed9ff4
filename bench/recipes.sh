#!/usr/bin/env bash
# Compares locks and queues: the recipes `lock` and `queue` on three servers of ours with Curator's InterProcessMutex
# and DistributedQueue on three ZooKeepers 3.9.5. Prints a table with ratios. Needs a JDK.
#
#   bench/recipes.sh [FIGURE...]      lock alone queue (default: all)
#
#   lock    32 sessions want one lock: handovers a second, and how long a session waits
#   alone   one session and a lock that nobody else wants: acquires and releases a second
#   queue   16 workers take and acknowledge items that are there: items a second
#
# The two ensembles run one after the other on the same machine and disk, with fsync on, and change places every round.
# One Java program is the client of both (bench/recipes/LocksAndQueues.java).
#
# Settings from the environment: those of bench/lib.sh and bench/three-servers.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

figures_all="lock alone queue"
# shellcheck source=bench/lib.sh
source bench/lib.sh
choose "$@"
# shellcheck source=bench/three-servers.sh
source bench/three-servers.sh
if [[ -z $class_path ]]; then echo "Curator is needed for both sides: see ZOOKEEPER_START in bench/lib.sh" >&2; exit 2; fi
javac -nowarn -cp "$class_path" -d "$work/classes" bench/recipes/LocksAndQueues.java

client() { # what, number of clients: one line of JSON
  java -Xmx512m -cp "$work/classes:$class_path" LocksAndQueues "$1" "$servers" "$2" "$seconds" 2> "$work/client.log" ||
    { cat "$work/client.log" >&2; exit 1; }
}

one_round() { # ensemble
  local by=curator json
  fresh "$1"
  if [[ $1 == ours ]]; then
    by=server
    "$binary" plugin --server "${servers%%,*}" deploy bundled:lock --name lock --mount /locks > /dev/null
    "$binary" plugin --server "${servers%%,*}" deploy bundled:queue --name queue --mount /queue > /dev/null
  fi
  if wanted lock; then
    json=$(client $by-lock 32)
    note lock.handovers/s "$1" "$(field per_second <<< "$json")"
    note lock.wait_p50_ms "$1" "$(field wait_ms_p50 <<< "$json")"
    note lock.wait_p99_ms "$1" "$(field wait_ms_p99 <<< "$json")"
  fi
  if wanted alone; then note alone/s "$1" "$(client $by-alone 1 | field per_second)"; fi
  if wanted queue; then note queue/s "$1" "$(client $by-queue 16 | field per_second)"; fi
  stop
}

for ((round = 1; round <= rounds; round++)); do
  order=$(in_turn "$round" "${ensembles[@]}")
  echo "round $round of $rounds: $order" >&2
  for ensemble in $order; do one_round "$ensemble"; done
done

table recipes Curator <<'ROWS'
lock.handovers/s lock.handovers/s median rate 5
lock.wait_p50_ms lock.wait_p50_ms median none 0
lock.wait_p99_ms lock.wait_p99_ms median none 0
alone/s alone/s median rate 3
queue/s queue/s median rate 5
ROWS
