#!/usr/bin/env bash
# Measures our release binary and ZooKeeper 3.9.5, standalone, in alternation on the same machine and disk, both with
# fsync on, and prints a table with ratios. `wasmkeeper bench` is the load generator for both.
#
#   bench/side-by-side.sh [figure ...]      all of: load single connect watch idle memory start guard (default: all)
#
# Environment:
#   BINARY           our server and load generator          (default target/release/wasmkeeper)
#   ZOOKEEPER_START  a script with `start N BASEPORT DIR` and `stop DIR`, leaving the process id in DIR/1/pid
#                    (default ../shared/peers/zookeeper.sh beside the project; without one only we are measured)
#   ROUNDS           rounds of throughput and latency       (default 3)
#   SECONDS_EACH     seconds of each measurement            (default 10)
#   WORK             where both keep their data             (default: a new folder in the current one, removed at the end)
#   NODES            znodes of the memory and restart figures (default 1000000)
#   IDLE_SESSIONS    (default 9000)
set -euo pipefail
cd "$(dirname "$0")/.."

binary=$(readlink -f "${BINARY:-target/release/wasmkeeper}")
[[ -x $binary ]] || { echo "no binary at $binary: cargo build --release" >&2; exit 2; }
zookeeper=${ZOOKEEPER_START:-../shared/peers/zookeeper.sh}
servers=(ours)
if [[ -x $zookeeper || -f $zookeeper ]]; then
  zookeeper=$(readlink -f "$zookeeper"); servers=(ours zookeeper)
else
  echo "no ZooKeeper starter at $zookeeper (ZOOKEEPER_START): measuring only ourselves" >&2
fi
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-10} nodes=${NODES:-1000000} idle=${IDLE_SESSIONS:-9000}
figures=" ${*:-load single connect watch idle memory start guard} "
wanted() { [[ $figures == *" $1 "* ]]; }

if [[ -n ${WORK:-} ]]; then work=$WORK; mkdir -p "$work"; remove_work=; else work=$(mktemp -d "$PWD/side-by-side.XXXXXX"); remove_work=1; fi
results=$work/results; : > "$results"
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

base=24100                       # ours listens here, ZooKeeper on the port behind
declare -A pid=() port=([ours]=$base [zookeeper]=$((base + 1)))

# ---- the two servers; every process that is ended was started here, by its id
alive() { [[ -n ${1:-} && -d /proc/$1 && $(awk '{print $3}' "/proc/$1/stat" 2>/dev/null) != Z ]]; }

end() { # server signal
  local p=${pid[$1]:-}
  [[ -n $p ]] || return 0
  alive "$p" && kill "-$2" "$p" 2>/dev/null || true
  for _ in $(seq 600); do alive "$p" || break; sleep 0.05; done
  if alive "$p"; then kill -KILL "$p" 2>/dev/null || true; fi
  wait "$p" 2>/dev/null || true
  pid[$1]=
}
stop() { end "$1" TERM; }

finish() {
  local code=$?
  stop ours; stop zookeeper
  if [[ -n $remove_work ]]; then rm -rf "$work"; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

serves() { # port: whether it answers srvr with a mode
  local line
  exec 9<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf srvr >&9
  while IFS= read -r -t 1 line <&9; do
    if [[ $line == Mode:* ]]; then exec 9>&-; return 0; fi
  done
  exec 9>&-
  return 1
}

milliseconds() { local t=$EPOCHREALTIME; echo $(( ${t/./} / 1000 )); }

start() { # server: starts it on the data it has; sets started_ms, the time until it served
  local from; from=$(milliseconds)
  if [[ $1 == ours ]]; then
    mkdir -p "$work/ours"
    printf '%s\n' tickTime=2000 "dataDir=$work/ours/data" clientPortAddress=127.0.0.1 "clientPort=${port[ours]}" \
      maxClientCnxns=0 4lw.commands.whitelist=\* admin.enableServer=false > "$work/ours/zoo.cfg"
    "$binary" serve --config "$work/ours/zoo.cfg" > "$work/ours/log" 2>&1 &
    pid[ours]=$!
  else
    # The starter returns once the server answers; it notes the process it started.
    "$zookeeper" start 1 "$base" "$work/zookeeper" >&2
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
note() { echo "$1 $2 $3" >> "$results"; printf '  %-28s %-10s %s\n' "$1" "$2" "$3" >&2; } # figure server value

bench() { # server, arguments: one JSON object
  local server=$1; shift
  "$binary" bench "127.0.0.1:${port[$server]}" --json --dir "$work" "$@"
}
field() { sed -n "s/.*\"$1\":\([-0-9.e]*\).*/\1/p"; }

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

# Size and a required field of JSON, on values of 100 bytes; off and on in alternation on one server.
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
  # Right behind the load: what was written must be there again, and quickly.
  end "$1" KILL; start "$1"
  note restart-after-kill.ms "$1" "$started_ms"
  # Time for checkpoints to be written and garbage to be collected.
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
  # Who goes first changes, so that neither always finds the warmer machine.
  order=("${servers[@]}")
  if (( round % 2 == 0 && ${#servers[@]} == 2 )); then order=("${servers[1]}" "${servers[0]}"); fi
  echo "round $round of $rounds: ${order[*]}" >&2
  for server in "${order[@]}"; do
    if wanted start; then starting "$server"; fi
    if wanted load || wanted single || wanted connect || wanted watch; then one_round "$server"; fi
  done
done
for server in "${servers[@]}"; do
  if wanted idle; then idle_sessions "$server"; fi
  if wanted memory; then memory "$server"; fi
done
if wanted guard; then guard; fi

# ---- the table: medians over the rounds
# rate: ours over theirs at least the goal; time: theirs over ours; most: our own figure at most the goal
awk -v idle="$idle" '
  function median(key,   n, i, j, t, v) {
    n = split(values[key], v, " ")
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    if (n == 0) return ""
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
  }
  function row(figure, kind, goal,   ours, theirs, ratio, said, reached) {
    ours = median(figure " ours"); theirs = median(figure " zookeeper")
    if (ours == "") return
    ratio = "-"; reached = "-"
    if (kind == "most") { said = "<= " goal; reached = ours + 0 <= goal ? "yes" : "NO" }
    if (kind == "rate") said = ">= " goal "x"
    if (kind == "time") said = ">= " goal "x faster"
    if (theirs != "" && ours > 0 && theirs > 0) {
      ratio = kind == "rate" ? ours / theirs : theirs / ours
      if (kind != "most") reached = ratio >= goal ? "yes" : "NO"
      ratio = sprintf("%.2f", ratio)
    }
    printf "%-26s %12.1f %12s %8s   %-14s %s\n", figure, ours, theirs == "" ? "-" : sprintf("%.1f", theirs), ratio, said, reached
  }
  { key = $1 " " $2; values[key] = values[key] " " $3 }
  END {
    printf "%-26s %12s %12s %8s   %-14s %s\n", "figure (medians)", "wasmkeeper", "ZooKeeper", "ratio", "goal", "reached"
    row("set-64x1/s", "rate", 2); row("set-64x1.p99_us", "time", 2); row("set-64x16/s", "rate", 2)
    row("get-64x1/s", "rate", 2); row("get-64x16/s", "rate", 2)
    row("one-set.p50_us", "time", 1); row("one-set.over-floor", "most", 1.5); row("connect/s", "rate", 3)
    row("watch-1000.p50_us", "time", 2); row("guard-cost-percent", "most", 10)
    row("idle-" idle ".rss_mib", "most", 120); row("start.rss_mib", "most", 40)
    row("load/s", "rate", 1); row("nodes.rss_mib", "most", 300); row("nodes.hwm_mib", "most", 300)
    row("nodes-load.hwm_mib", "most", 300)
    row("restart.ms", "most", 1500); row("restart-after-kill.ms", "most", 1500); row("start-empty.ms", "most", 150)
  }' "$results"
