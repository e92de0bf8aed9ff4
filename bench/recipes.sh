#!/usr/bin/env bash
# Locks and queues side by side: the recipes `lock` and `queue` on three of our servers (release binary) against Curator's
# InterProcessMutex and DistributedQueue on three ZooKeepers 3.9.5, in alternation on the same machine and disk, with fsync
# on. One Java program is the client of both (bench/recipes/LocksAndQueues.java). Prints a table with ratios. Needs a JDK.
#
#   bench/recipes.sh [figure ...]      all of: lock alone queue (default: all)
#
# lock    one contended lock, 32 sessions: handovers a second, and how long a session waited
# alone   one session, a lock nobody else wants: acquire and release a second
# queue   16 workers take and acknowledge items that are there: a second
#
# Environment: BINARY, ZOOKEEPER_START, ZOOKEEPER_JVM, WORK as in bench/ensemble.sh; ROUNDS (default 3); SECONDS_EACH (default 10).
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=bench/three-servers.sh
source bench/three-servers.sh
if [[ -z $class_path ]]; then echo "Curator is needed for either side: name a starter by ZOOKEEPER_START" >&2; exit 2; fi
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-10}
figures=" ${*:-lock alone queue} "
wanted() { [[ $figures == *" $1 "* ]]; }
javac -nowarn -cp "$class_path" -d "$work/classes" bench/recipes/LocksAndQueues.java

note() { echo "$1 $2 $3" >> "$results"; printf '  %-28s %-10s %s\n' "$1" "$2" "$3" >&2; } # figure ensemble value
field() { sed -n "s/.*\"$1\":\([-0-9.e]*\).*/\1/p"; }
client() { # what clients: one line of JSON
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
  order=("${ensembles[@]}")
  if ((round % 2 == 0)); then order=("${ensembles[1]}" "${ensembles[0]}"); fi
  echo "round $round of $rounds: ${order[*]}" >&2
  for ensemble in "${order[@]}"; do one_round "$ensemble"; done
done

awk '
  function median(key,   n, v, i, j, t) {
    n = split(values[key], v, " ")
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n == 0 ? "" : n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
  }
  function row(figure, kind, goal,   ours, theirs, ratio) {
    ours = median(figure " ours"); theirs = median(figure " zookeeper")
    if (ours == "" || theirs == "") return
    ratio = kind == "rate" ? ours / theirs : theirs / ours
    printf "%-22s %12.1f %12.1f %8.2f   %-10s %s\n", figure, ours, theirs, ratio, goal ? ">= " goal "x" : "-", goal ? (ratio >= goal ? "yes" : "NO") : "-"
  }
  { key = $1 " " $2; values[key] = values[key] " " $3 }
  END {
    printf "%-22s %12s %12s %8s   %-10s %s\n", "figure (medians)", "recipes", "Curator", "ratio", "goal", "reached"
    row("lock.handovers/s", "rate", 5); row("lock.wait_p50_ms", "time", 0); row("lock.wait_p99_ms", "time", 0)
    row("alone/s", "rate", 3); row("queue/s", "rate", 5)
  }' "$results"
