#!/usr/bin/env bash
# Compares two builds of our server, and prints a table with ratios: throughput, and processor time for each request.
#
#   bench/two-builds.sh OTHER_BINARY      BINARY against another build, such as that of the last release
#
# Both servers run all the time, on the same disk and with fsync on. They are measured in turn, in slices of
# SECONDS_EACH, and change places every round. The load generator for both is `wasmkeeper bench` of BINARY. Processor
# time tells more than throughput where other programs take a share of the machine.
#
# Settings from the environment: those of bench/lib.sh. Ten rounds or more (ROUNDS=10 SECONDS_EACH=5) tell differences
# of some percent.
set -euo pipefail
cd "$(dirname "$0")/.."

other=$(readlink -f "${1:?the other build: bench/two-builds.sh OTHER_BINARY}")
if [[ ! -x $other ]]; then echo "no program at $1" >&2; exit 2; fi
figures_all= only_ours=1 theirs=other
# shellcheck source=bench/lib.sh
source bench/lib.sh

declare -A port=([ours]=24200 [other]=24201) program=([ours]=$binary [other]=$other)

start() { # server
  mkdir -p "$work/$1"
  printf '%s\n' tickTime=2000 "dataDir=$work/$1/data" clientPortAddress=127.0.0.1 "clientPort=${port[$1]}" maxClientCnxns=0 \
    admin.enableServer=false > "$work/$1/zoo.cfg"
  "${program[$1]}" serve --config "$work/$1/zoo.cfg" > "$work/$1/log" 2>&1 &
  pid[$1]=$!
  local waited
  for waited in $(seq 200); do
    if [[ $(four_letters 127.0.0.1 "${port[$1]}" srvr) == *Mode:* ]]; then return; fi
    sleep 0.05
  done
  echo "${program[$1]} does not serve after $((waited / 20)) s; its log ends:" >&2
  tail -n 5 "$work/$1/log" >&2
  exit 1
}

ticks() { awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"; } # server: its processor time, in clock ticks

slice() { # server figure arguments of bench...: notes throughput, and microseconds of processor time for a request
  local server=$1 figure=$2 before json; shift 2
  before=$(ticks "$server")
  json=$("$binary" bench "127.0.0.1:${port[$server]}" --json --dir "$work" --seconds "$seconds" "$@")
  local rate; rate=$(field per_second <<< "$json")
  note "$figure/s" "$server" "$rate"
  note "$figure.cpu_us" "$server" "$(awk -v ticks="$(($(ticks "$server") - before))" -v hertz="$(getconf CLK_TCK)" -v rate="$rate" \
    -v seconds="$seconds" 'BEGIN { printf "%.2f", ticks / hertz * 1e6 / (rate * seconds) }')"
}

start ours; start other
for ((round = 1; round <= rounds; round++)); do
  echo "round $round" >&2
  for op in set get; do
    for depth in 1 16; do
      for server in $(in_turn "$round" ours other); do
        slice "$server" "$op-64x$depth" --op "$op" --clients 64 --depth "$depth"
      done
    done
  done
done

rows() {
  local figure
  for figure in set-64x1 set-64x16 get-64x1 get-64x16; do
    echo "$figure/s $figure/s median rate 0.97"
    echo "$figure.cpu_us $figure.cpu_us median time 0.97"
  done
}
rows | table "$(basename "$binary")" "$(basename "$other")"
