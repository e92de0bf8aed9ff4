#!/usr/bin/env bash
# Measures three of our servers (release binary) and three ZooKeepers 3.9.5, in alternation on the same machine and disk,
# with fsync on, and prints a table with ratios. `wasmkeeper bench` is the load generator for both, spread over the members.
#
#   bench/ensemble.sh [figure ...]     all of: load single connect memory kill stop cut (default: all)
#
# kill, stop, cut: the leader is lost under load, by kill -9, by SIGSTOP, by a network that carries nothing between it and
# the other two (namespaces: needs root and `ip`; skipped without); measured is the longest time without any acknowledged
# write, and whether anything acknowledged is missing afterwards.
#
# Environment:
#   BINARY           our server and load generator          (default target/release/wasmkeeper)
#   ZOOKEEPER_START  a script whose `classpath` prints ZooKeeper's Java class path
#                    (default ../shared/peers/zookeeper.sh beside the project; without one only we are measured)
#   ZOOKEEPER_JVM    options of each of its JVMs            (default -Xmx1g)
#   ROUNDS           rounds of throughput and latency       (default 3)
#   SECONDS_EACH     seconds of each measurement            (default 10)
#   FAILOVER_ROUNDS  rounds of each loss of the leader      (default 20)
#   WORK             where all keep their data              (default: a new folder in the current one, removed at the end)
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=bench/three-servers.sh
source bench/three-servers.sh
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-10} losses=${FAILOVER_ROUNDS:-20}
figures=" ${*:-load single connect memory kill stop cut} "
wanted() { [[ $figures == *" $1 "* ]]; }

net=wkb$$                             # begins the names of namespaces and bridge
networked=                            # whether they exist

# ---- a network namespace for each member, on one bridge; a cut gives a neighbour an address that nobody has
network_up() {
  [[ $(id -u) == 0 ]] && command -v ip > /dev/null || return 1
  ip link add "${net}br" type bridge 2>/dev/null || return 1
  networked=1
  ip addr add 10.214.0.254/24 dev "${net}br" && ip link set "${net}br" up || return 1
  local n
  for n in "${members[@]}"; do
    { ip netns add "$net-$n" && ip link add "${net}v$n" type veth peer name eth0 netns "$net-$n" &&
      ip link set "${net}v$n" master "${net}br" up && ip -n "$net-$n" addr add "10.214.0.$n/24" dev eth0 &&
      ip -n "$net-$n" link set lo up && ip -n "$net-$n" link set eth0 up; } 2>/dev/null || return 1
  done
}
network_down() {
  [[ -n $networked ]] || return 0
  local n
  for n in "${members[@]}"; do ip netns del "$net-$n" 2>/dev/null || true; done
  ip link del "${net}br" 2>/dev/null || true
  networked=
}
isolate() { # member
  local n
  for n in "${members[@]}"; do
    [[ $n != "$1" ]] || continue
    ip -n "$net-$1" neigh replace "${host[$n]}" lladdr 02:00:00:00:00:ff nud permanent dev eth0
    ip -n "$net-$n" neigh replace "${host[$1]}" lladdr 02:00:00:00:00:ff nud permanent dev eth0
  done
}
heal() {
  local n m
  for n in "${members[@]}"; do for m in "${members[@]}"; do
    ip -n "$net-$n" neigh del "${host[$m]}" dev eth0 2>/dev/null || true
  done; done
}

# ---- measuring
note() { echo "$1 $2 $3" >> "$results"; printf '  %-28s %-10s %s\n' "$1" "$2" "$3" >&2; } # figure ensemble value
field() { sed -n "s/.*\"$1\":\([-0-9.e]*\).*/\1/p"; }

throughput() { # figure arguments...: notes rate and p99
  local figure=$1 json errors; shift
  json=$("$binary" bench "$servers" --json --dir "$work" --seconds "$seconds" "$@")
  note "$figure/s" "$running" "$(field per_second <<< "$json")"
  note "$figure.p99_us" "$running" "$(field p99_us <<< "$json")"
  errors=$(field errors <<< "$json")
  if [[ $errors != 0 ]]; then echo "  $figure: $errors requests of $running failed" >&2; fi
}

one_round() { # ensemble
  fresh "$1"
  if wanted load; then
    throughput set-64x1 --op set --clients 64 --depth 1
    throughput set-64x16 --op set --clients 64 --depth 16
    throughput get-64x1 --op get --clients 64 --depth 1
    throughput mixed-64x8 --op mixed --mix 90 --clients 64 --depth 8
  fi
  if wanted single; then
    # A client's member leads, or it does not: both matter, and which a list of servers begins with is chance.
    local leads n json; leads=$(leader "${members[@]}")
    for n in "$leads" "$((leads % 3 + 1))"; do
      json=$("$binary" bench "${host[$n]}:${port[$n]}" --json --dir "$work" --seconds "$seconds" --op set --clients 1)
      if [[ $n == "$leads" ]]; then note one-set-at-leader.p50_us "$1" "$(field p50_us <<< "$json")"
      else note one-set-at-follower.p50_us "$1" "$(field p50_us <<< "$json")"; fi
    done
  fi
  if wanted connect; then throughput connect --op connect --clients 32; fi
  if wanted memory; then
    local n most=0 mib
    for n in "${members[@]}"; do
      mib=$(awk '$1 == "VmRSS:" { printf "%.1f", $2 / 1024 }' "/proc/${pid[$n]}/status")
      most=$(awk -v a="$most" -v b="$mib" 'BEGIN { print (a + 0 > b + 0) ? a : b }')
    done
    note server.rss_mib "$1" "$most"
  fi
  stop
}

lose_leader() { # how: the gap of one loss, in the middle of a load
  local how=$1 leads others n bench code=0
  leads=$(leader "${members[@]}")
  others=(); for n in "${members[@]}"; do [[ $n == "$leads" ]] || others+=("$n"); done
  "$binary" bench "$servers" --json --op failover --clients 64 --seconds 10 --session-timeout-ms 6000 > "$work/failover.json" &
  bench=$!
  # A different moment each time.
  sleep "2.$((RANDOM % 1000))"
  case $how in
    kill) kill -KILL "${pid[$leads]}" ;;
    stop) kill -STOP "${pid[$leads]}" ;;
    cut) isolate "$leads" ;;
  esac
  wait "$bench" || code=$?
  case $how in
    kill) wait "${pid[$leads]}" 2>/dev/null || true; launch "$leads" ;;
    stop) kill -CONT "${pid[$leads]}" ;;
    cut) heal ;;
  esac
  if ((code != 0)); then echo "  $how: the load of $running ended with an error" >&2; note "$how.failed" "$running" 1; fi
  if ((code == 0)); then
    note "$how.gap_ms" "$running" "$(field gap_max_ms < "$work/failover.json")"
    note "$how.lost" "$running" "$(field acknowledged_lost < "$work/failover.json")"
    note "$how.sessions_lost" "$running" "$(field sessions_lost < "$work/failover.json")"
  fi
  until_all_serve
}

losing_leaders() { # how
  local n round
  if [[ $1 == cut ]] && ! network_up; then
    network_down
    echo "cut: skipped, no network namespaces here (root and \`ip\` are needed)" >&2
    return 0
  fi
  for n in "${ensembles[@]}"; do
    if [[ $1 == cut ]]; then fresh "$n" network; else fresh "$n"; fi
    for ((round = 1; round <= losses; round++)); do lose_leader "$1"; done
    stop
  done
  network_down
}

for ((round = 1; round <= rounds; round++)); do
  if ! wanted load && ! wanted single && ! wanted connect && ! wanted memory; then break; fi
  # Who goes first changes, so that neither always finds the warmer machine.
  order=("${ensembles[@]}")
  if ((round % 2 == 0 && ${#ensembles[@]} == 2)); then order=("${ensembles[1]}" "${ensembles[0]}"); fi
  echo "round $round of $rounds: ${order[*]}" >&2
  for ensemble in "${order[@]}"; do one_round "$ensemble"; done
done
for how in kill stop cut; do
  if wanted "$how"; then echo "the leader is lost: $how" >&2; losing_leaders "$how"; fi
done

# ---- the table: medians over the rounds, and for the losses of a leader the greatest too
# rate: ours over theirs at least the goal; time: theirs over ours; most: our own figure at most the goal; none: no goal
awk '
  function sorted(key, v,   n, i, j, t) {
    n = split(values[key], v, " ")
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n
  }
  function median(key,   n, v) { n = sorted(key, v); return n == 0 ? "" : n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
  function greatest(key,   n, v) { n = sorted(key, v); return n == 0 ? "" : v[n] }
  function row(name, ours, theirs, kind, goal,   ratio, said, reached) {
    if (ours == "") return
    ratio = "-"; reached = "-"; said = "-"
    if (kind == "most") { said = "<= " goal; reached = ours + 0 <= goal ? "yes" : "NO" }
    if (kind == "rate") said = ">= " goal "x"
    if (kind == "time") said = ">= " goal "x faster"
    if (theirs != "" && ours > 0 && theirs > 0) {
      ratio = kind == "rate" ? ours / theirs : theirs / ours
      if (kind == "rate" || kind == "time") reached = ratio >= goal ? "yes" : "NO"
      ratio = sprintf("%.2f", ratio)
    }
    printf "%-28s %12.1f %12s %8s   %-14s %s\n", name, ours, theirs == "" ? "-" : sprintf("%.1f", theirs), ratio, said, reached
  }
  function medians(figure, kind, goal) { row(figure, median(figure " ours"), median(figure " zookeeper"), kind, goal) }
  function loss(how, goal) {
    row(how ".gap_ms p50", median(how ".gap_ms ours"), median(how ".gap_ms zookeeper"), goal ? "most" : "none", goal)
    row(how ".gap_ms max", greatest(how ".gap_ms ours"), greatest(how ".gap_ms zookeeper"), goal ? "most" : "none", goal)
    row(how ".lost max", greatest(how ".lost ours"), greatest(how ".lost zookeeper"), "most", 0)
    row(how ".sessions_lost max", greatest(how ".sessions_lost ours"), greatest(how ".sessions_lost zookeeper"), "most", 0)
    if (greatest(how ".failed ours") != "" || greatest(how ".failed zookeeper") != "") print how ": some rounds failed, see above"
  }
  { key = $1 " " $2; values[key] = values[key] " " $3 }
  END {
    printf "%-28s %12s %12s %8s   %-14s %s\n", "figure (medians)", "wasmkeeper", "ZooKeeper", "ratio", "goal", "reached"
    medians("set-64x1/s", "rate", 4); medians("set-64x1.p99_us", "time", 3); medians("set-64x16/s", "rate", 4)
    medians("one-set-at-leader.p50_us", "time", 2); medians("one-set-at-follower.p50_us", "time", 2)
    medians("get-64x1/s", "rate", 3); medians("mixed-64x8/s", "rate", 3); medians("connect/s", "rate", 5)
    medians("server.rss_mib", "most", 60)
    loss("kill", 500); loss("stop", 0); loss("cut", 0)
  }' "$results"
