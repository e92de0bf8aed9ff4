# What the benchmarks of this folder share. A script sources this file from the project's folder, after it has set
# `figures_all` (the figures that it can measure), or `only_ours` if it measures no ZooKeeper.
#
# It reads these settings from the environment:
#   BINARY           our server and the load generator for both servers (default target/release/wasmkeeper)
#   ZOOKEEPER_START  the starter of ZooKeeper (default tests/conformance/zookeeper.sh, which needs Java and downloads 400 MB at
#                    its first call). Set it to nothing to measure our server only
#   ROUNDS           rounds of each measurement (default 3)
#   SECONDS_EACH     seconds of each measurement (default 10)
#   WORK             the folder where all servers keep their data, on the disk to be measured; it is kept
#                    (default: a new folder in the current one, removed at the end)
#
# It sets: binary, zookeeper (empty without one), rounds, seconds, work, results, and the array `pid`: the processes
# that were started, by a name that the script chooses. All of them are ended at exit.
# shellcheck shell=bash disable=SC2034 # variables that scripts use

binary=$(readlink -f "${BINARY:-target/release/wasmkeeper}" || true)
if [[ ! -x $binary ]]; then echo "no binary at ${BINARY:-target/release/wasmkeeper}: cargo build --release" >&2; exit 2; fi

zookeeper=${ZOOKEEPER_START-tests/conformance/zookeeper.sh}
if [[ -n ${only_ours:-} ]]; then
  zookeeper=
elif [[ -z $zookeeper ]]; then
  echo "no ZooKeeper to compare with: measuring our server only" >&2
elif [[ ! -f $zookeeper ]]; then
  echo "ZOOKEEPER_START names $zookeeper, which does not exist" >&2; exit 2
elif ! command -v java > /dev/null; then
  echo "java is not installed: measuring our server only" >&2; zookeeper=
else
  zookeeper=$(readlink -f "$zookeeper")
fi

rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-10}

if [[ -n ${WORK:-} ]]; then
  work=$WORK; remove_work=
  mkdir -p "$work"
else
  work=$(mktemp -d "$PWD/bench.XXXXXX"); remove_work=1
fi
work=$(readlink -f "$work")
results=$work/results
: > "$results"

# Thousands of connections need as many open files.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# choose FIGURE...: what the command line names, or all figures
choose() {
  local figure
  for figure in "$@"; do
    if [[ " $figures_all " != *" $figure "* ]]; then
      echo "there is no figure \"$figure\"; there are: $figures_all" >&2; exit 2
    fi
  done
  figures=" ${*:-$figures_all} "
}
# wanted FIGURE...: whether any of them is chosen
wanted() { local figure; for figure in "$@"; do if [[ $figures == *" $figure "* ]]; then return 0; fi; done; return 1; }

# ---- processes
declare -A pid=()

alive() { [[ -n ${1:-} && -d /proc/$1 && $(awk '{print $3}' "/proc/$1/stat" 2>/dev/null) != Z ]]; } # process id

end() { # name signal: sends the signal, and SIGKILL after 30 s
  local process=${pid[$1]:-}
  if [[ -z $process ]]; then return 0; fi
  kill -CONT "$process" 2>/dev/null || true
  kill "-$2" "$process" 2>/dev/null || true
  for _ in $(seq 600); do alive "$process" || break; sleep 0.05; done
  if alive "$process"; then kill -KILL "$process" 2>/dev/null || true; fi
  wait "$process" 2>/dev/null || true
  pid[$1]=
}

# Ends everything. A script that has more to undo defines `undo`.
finish() {
  local code=$? name
  for name in "${!pid[@]}"; do end "$name" KILL; done
  if declare -F undo > /dev/null; then undo; fi
  if [[ -n $remove_work ]]; then rm -rf "$work"; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

milliseconds() { local t=$EPOCHREALTIME; echo $(( ${t/./} / 1000 )); }

# four_letters HOST PORT WORD: the server's answer; nothing if there is none within two seconds
four_letters() {
  timeout 2 bash -c 'exec 9<>"/dev/tcp/$0/$1" && printf "%s" "$2" >&9 && cat <&9' "$1" "$2" "$3" 2>/dev/null || true
}

# ---- results
note() { echo "$1 $2 $3" >> "$results"; printf '  %-28s %-10s %s\n' "$1" "$2" "$3" >&2; } # figure, who, value
field() { sed -n "s/.*\"$1\":\([-0-9.e]*\).*/\1/p"; }                                      # of one line of JSON

# in_turn ROUND NAME [NAME]: the names, in the other order in every second round, so that neither always finds the
# warmer machine
in_turn() {
  local round=$1; shift
  if ((round % 2 == 0 && $# == 2)); then echo "$2 $1"; else echo "$*"; fi
}

# table HEADING_OURS HEADING_THEIRS: the closing table. Standard input has a row in each line: LABEL FIGURE STATISTIC
# KIND GOAL.
#   STATISTIC  median or greatest, over all values that were noted
#   KIND       rate: ours / theirs must reach the goal; time: theirs / ours must; most: ours must be at most the goal; none
# A row is left out if nothing was noted for us.
table() {
  awk -v results="$results" -v ours_name="$1" -v theirs_name="$2" -v theirs_key="${theirs:-zookeeper}" '
    function sorted(key, v,   n, i, j, t) {
      n = split(values[key], v, " ")
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n
    }
    function statistic(what, key,   n, v) {
      n = sorted(key, v)
      if (n == 0) return ""
      if (what == "greatest") return v[n]
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    BEGIN {
      while ((getline line < results) > 0) { split(line, part, " "); key = part[1] " " part[2]; values[key] = values[key] " " part[3] }
      printf "%-28s %12s %12s %8s   %-14s %s\n", "figure", ours_name, theirs_name, "ratio", "goal", "reached"
    }
    NF == 5 {
      ours = statistic($3, $2 " ours"); theirs = statistic($3, $2 " " theirs_key); kind = $4; goal = $5
      if (ours == "") next
      ratio = "-"; reached = "-"; said = "-"
      if (kind == "most") { said = "<= " goal; reached = ours + 0 <= goal ? "yes" : "NO" }
      if (kind == "rate") said = ">= " goal "x"
      if (kind == "time") said = ">= " goal "x faster"
      if (theirs != "" && ours > 0 && theirs > 0) {
        ratio = kind == "rate" ? ours / theirs : theirs / ours
        if (kind == "rate" || kind == "time") reached = ratio >= goal ? "yes" : "NO"
        ratio = sprintf("%.2f", ratio)
      }
      printf "%-28s %12.1f %12s %8s   %-14s %s\n", $1, ours, theirs == "" ? "-" : sprintf("%.1f", theirs), ratio, said, reached
    }'
}
