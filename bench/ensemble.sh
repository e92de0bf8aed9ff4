#!/usr/bin/env bash
# Compares three servers of ours with three ZooKeepers 3.9.5, and prints a table with ratios.
#
#   bench/ensemble.sh [FIGURE...]      load single connect memory kill stop cut (default: all)
#
#   load      throughput of sets, gets and a mix, spread over the members
#   single    latency of one client's sets, at the leader and at a follower
#   connect   sessions opened and closed a second
#   memory    resident memory of the largest member
#   kill, stop, cut
#             the leader is lost under load: by kill -9, by SIGSTOP, or because the network carries nothing between it and the
#             other two. Measured: the longest time without an acknowledged write, and acknowledged writes and sessions that
#             are missing afterwards. `cut` needs root and `ip`, for network namespaces; it is skipped without them.
#
# The two ensembles run one after the other on the same machine and disk, with fsync on, and change places every round.
# `wasmkeeper bench` is the load generator for both. Prints medians over the rounds, and the greatest values of the
# losses.
#
# Settings from the environment: those of bench/lib.sh and bench/three-servers.sh, and
#   FAILOVER_ROUNDS  rounds of each loss of the leader (default 20)
set -euo pipefail
cd "$(dirname "$0")/.."

figures_all="load single connect memory kill stop cut"
# shellcheck source=bench/lib.sh
source bench/lib.sh
choose "$@"
# shellcheck source=bench/three-servers.sh
source bench/three-servers.sh
losses=${FAILOVER_ROUNDS:-20}

net=wkb$$                             # the names of namespaces and bridge begin with this
networked=                            # set if they exist

# ---- a network namespace for each member, all on one bridge. A cut gives a neighbour a hardware address that nobody
# has
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
undo() { network_down; }
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
    # Measured at the leader and at a follower, because the two differ.
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

lose_leader() { # how: one loss, in the middle of a load
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

if wanted load single connect memory; then
  for ((round = 1; round <= rounds; round++)); do
    order=$(in_turn "$round" "${ensembles[@]}")
    echo "round $round of $rounds: $order" >&2
    for ensemble in $order; do one_round "$ensemble"; done
  done
fi
for how in kill stop cut; do
  if wanted "$how"; then echo "the leader is lost: $how" >&2; losing_leaders "$how"; fi
done

rows() {
  cat <<'ROWS'
set-64x1/s set-64x1/s median rate 4
set-64x1.p99_us set-64x1.p99_us median time 3
set-64x16/s set-64x16/s median rate 4
one-set-at-leader.p50_us one-set-at-leader.p50_us median time 2
one-set-at-follower.p50_us one-set-at-follower.p50_us median time 2
get-64x1/s get-64x1/s median rate 3
mixed-64x8/s mixed-64x8/s median rate 3
connect/s connect/s median rate 5
server.rss_mib server.rss_mib median most 60
ROWS
  local how goal
  for how in kill stop cut; do
    goal="none 0"
    if [[ $how == kill ]]; then goal="most 500"; fi
    echo "$how.gap_ms_p50 $how.gap_ms median $goal"
    echo "$how.gap_ms_max $how.gap_ms greatest $goal"
    echo "$how.lost_max $how.lost greatest most 0"
    echo "$how.sessions_lost_max $how.sessions_lost greatest most 0"
    # Noted only if the load of a round ended with an error.
    echo "$how.failed $how.failed greatest most 0"
  done
}
rows | table wasmkeeper ZooKeeper
