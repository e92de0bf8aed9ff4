#!/usr/bin/env bash
# Compares one server of ours with one ZooKeeper 3.9.5, and prints a table with ratios.
#
#   bench/side-by-side.sh [FIGURE...]      load single connect watch idle memory start guard (default: all)
#
#   load      throughput of sets and gets, 64 clients, one or 16 requests under way each
#   single    latency of one client's sets, and its ratio to the disk's fdatasync plus a ping
#   connect   sessions opened and closed a second
#   watch     time until 1,000 watches are told of a change
#   idle      memory with IDLE_SESSIONS idle sessions
#   memory    memory with NODES znodes, and time of restarts with them
#   start     time of a start without data, and memory after it
#   guard     what the plugin `guard` costs a set, in percent (our server only)
#
# The two servers run one after the other on the same machine and disk, with fsync on, and change places every round.
# `wasmkeeper bench` is the load generator for both. Prints medians over the rounds.
#
# Settings from the environment: those of bench/lib.sh, and
#   NODES            znodes of `memory` (default 1000000)
#   IDLE_SESSIONS    sessions of `idle` (default 9000)
set -euo pipefail
cd "$(dirname "$0")/.."

figures_all="load single connect watch idle memory start guard"
# shellcheck source=bench/lib.sh
source bench/lib.sh
choose "$@"
nodes=${NODES:-1000000} idle=${IDLE_SESSIONS:-9000}
servers=(ours)
if [[ -n $zookeeper ]]; then servers=(ours zookeeper); fi

base=24100                       # our server listens on this port, ZooKeeper on the next
declare -A port=([ours]=$base [zookeeper]=$((base + 1)))

# ---- the two servers
stop() { end "$1" TERM; }

serves() { # port: whether a server answers there with its mode. Without a process of its own, since start times are measured
  local line
  exec 9<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf srvr >&9
  while IFS= read -r -t 1 line <&9; do
    if [[ $line == Mode:* ]]; then exec 9>&-; return 0; fi
  done
  exec 9>&-
  return 1
}

start() { # server: starts it on the data it has; sets started_ms, the time until it serves
  local from; from=$(milliseconds)
  if [[ $1 == ours ]]; then
    mkdir -p "$work/ours"
    printf '%s\n' tickTime=2000 "dataDir=$work/ours/data" clientPortAddress=127.0.0.1 "clientPort=${port[ours]}" \
      maxClientCnxns=0 4lw.commands.whitelist=\* admin.enableServer=false > "$work/ours/zoo.cfg"
    "$binary" serve --config "$work/ours/zoo.cfg" > "$work/ours/log" 2>&1 &
    pid[ours]=$!
  else
    # The starter returns once the server answers, and notes the process it has started.
    bash "$zookeeper" start 1 "$base" "$work/zookeeper" >&2
    pid[zookeeper]=$(cat "$work/zookeeper/1/pid")
  fi
  until serves "${port[$1]}" 2>/dev/null; do
    if ! alive "${pid[$1]}"; then
      echo "$1 ended while starting:" >&2
      tail -n 5 "$work/$1"/log "$work/$1"/1/out.log 2>/dev/null >&2 || true
      exit 1
    fi
    if (( $(milliseconds) - from > 120000 )); then echo "$1 does not serve after 120 s" >&2; exit 1; fi
    sleep 0.004
  done
  started_ms=$(( $(milliseconds) - from ))
}

fresh() { stop "$1"; rm -rf "${work:?}/$1"; start "$1"; }

# ---- measuring
status_mib() { awk -v key="$2:" '$1 == key { printf "%.1f", $2 / 1024 }' "/proc/${pid[$1]}/status"; }

bench() { # server, arguments: one JSON object
  local server=$1; shift
  "$binary" bench "127.0.0.1:${port[$server]}" --json --dir "$work" "$@"
}

throughput() { # server figure arguments...: notes rate and p99
  local server=$1 figure=$2 json; shift 2
  json=$(bench "$server" --seconds "$seconds" "$@")
  note "$figure/s" "$server" "$(field per_second <<< "$json")"
  note "$figure.p99_us" "$server" "$(field p99_us <<< "$json")"
  local errors; errors=$(field errors <<< "$json")
  if [[ $errors != 0 ]]; then echo "  $figure: $errors requests of $server failed" >&2; fi
}

one_round() { # server
  fresh "$1"
  if wanted load; then
    throughput "$1" set-64x1 --op set --clients 64 --depth 1
    throughput "$1" set-64x16 --op set --clients 64 --depth 16
    throughput "$1" get-64x1 --op get --clients 64 --depth 1
    throughput "$1" get-64x16 --op get --clients 64 --depth 16
  fi
  if wanted single; then
    local json; json=$(bench "$1" --op set --clients 1 --seconds "$seconds")
    note one-set.p50_us "$1" "$(field p50_us <<< "$json")"
    note one-set.over-floor "$1" "$(field p50_over_fdatasync_plus_ping <<< "$json")"
  fi
  if wanted connect; then throughput "$1" connect --op connect --clients 32; fi
  if wanted watch; then note watch-1000.p50_us "$1" "$(bench "$1" --op watch --clients 1000 --rounds 20 | field p50_us)"; fi
  stop "$1"
}

# `guard` checks the size and a required JSON field of values of 100 bytes. Off and on in alternation, on one server.
guard() {
  local data='{"owner":"pay","note":"' off on round
  while (( ${#data} < 98 )); do data+=x; done
  data+='"}'
  fresh ours
  local plugin=("$binary" plugin) where=(--server "127.0.0.1:${port[ours]}")
  for ((round = 1; round <= rounds; round++)); do
    off=$(bench ours --op set --clients 64 --depth 16 --seconds "$seconds" --data "$data" | field per_second)
    "${plugin[@]}" deploy bundled:guard --name side-by-side --path '/bench/*/*' \
      --settings '{"max_bytes":4096,"require_json":["owner"]}' "${where[@]}" >&2
    on=$(bench ours --op set --clients 64 --depth 16 --seconds "$seconds" --data "$data" | field per_second)
    "${plugin[@]}" remove side-by-side "${where[@]}" >&2
    note guard-cost-percent ours "$(awk -v off="$off" -v on="$on" 'BEGIN { printf "%.1f", (1 - on / off) * 100 }')"
  done
  stop ours
}

idle_sessions() { # server
  fresh "$1"
  bench "$1" --op idle --clients "$idle" --seconds 20 > "$work/idle.json" &
  local client=$!
  sleep 17
  note "idle-$idle.rss_mib" "$1" "$(status_mib "$1" VmRSS)"
  wait "$client"
  local lost; lost=$(field sessions_lost < "$work/idle.json")
  if [[ $lost != 0 && $lost != 0.0 ]]; then echo "  idle: $1 lost $lost sessions" >&2; fi
  stop "$1"
}

memory() { # server
  fresh "$1"
  bench "$1" --op load --count "$nodes" --clients 16 --depth 64 > "$work/load.json"
  note load/s "$1" "$(field per_second < "$work/load.json")"
  note nodes-load.hwm_mib "$1" "$(status_mib "$1" VmHWM)"
  # Killed right after the load: everything that was written must be there again, and quickly.
  end "$1" KILL; start "$1"
  note restart-after-kill.ms "$1" "$started_ms"
  # Some time, so that checkpoints are written and ZooKeeper collects its garbage.
  bench "$1" --op set --clients 16 --depth 16 --seconds 15 > /dev/null
  sleep 10
  note nodes.rss_mib "$1" "$(status_mib "$1" VmRSS)"
  note nodes.hwm_mib "$1" "$(status_mib "$1" VmHWM)"
  stop "$1"; start "$1"
  note restart.ms "$1" "$started_ms"
  stop "$1"
}

starting() { # server
  fresh "$1"
  note start-empty.ms "$1" "$started_ms"
  sleep 3
  note start.rss_mib "$1" "$(status_mib "$1" VmRSS)"
  stop "$1"
}

for ((round = 1; round <= rounds; round++)); do
  order=$(in_turn "$round" "${servers[@]}")
  echo "round $round of $rounds: $order" >&2
  for server in $order; do
    if wanted start; then starting "$server"; fi
    if wanted load single connect watch; then one_round "$server"; fi
  done
done
for server in "${servers[@]}"; do
  if wanted idle; then idle_sessions "$server"; fi
  if wanted memory; then memory "$server"; fi
done
if wanted guard; then guard; fi

table wasmkeeper ZooKeeper <<ROWS
set-64x1/s set-64x1/s median rate 2
set-64x1.p99_us set-64x1.p99_us median time 2
set-64x16/s set-64x16/s median rate 2
get-64x1/s get-64x1/s median rate 2
get-64x16/s get-64x16/s median rate 2
one-set.p50_us one-set.p50_us median time 1
one-set.over-floor one-set.over-floor median most 1.5
connect/s connect/s median rate 3
watch-1000.p50_us watch-1000.p50_us median time 2
guard-cost-percent guard-cost-percent median most 10
idle-$idle.rss_mib idle-$idle.rss_mib median most 120
start.rss_mib start.rss_mib median most 40
load/s load/s median rate 1
nodes.rss_mib nodes.rss_mib median most 300
nodes.hwm_mib nodes.hwm_mib median most 300
nodes-load.hwm_mib nodes-load.hwm_mib median most 300
restart.ms restart.ms median most 1500
restart-after-kill.ms restart-after-kill.ms median most 1500
start-empty.ms start-empty.ms median most 150
ROWS
