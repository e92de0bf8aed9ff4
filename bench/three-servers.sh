# Three of our servers and three ZooKeepers on this machine, one ensemble at a time: sourced by the benchmarks of ensembles, from
# the project's folder. Uses BINARY, ZOOKEEPER_START, ZOOKEEPER_JVM and WORK of the environment (bench/ensemble.sh); leaves
# `ensembles`, `class_path`, `work`, `results`, and after `fresh NAME` `servers`, `pid`, `host`, `port`.

binary=$(readlink -f "${BINARY:-target/release/wasmkeeper}")
[[ -x $binary ]] || { echo "no binary at $binary: cargo build --release" >&2; exit 2; }
zookeeper=${ZOOKEEPER_START:-../shared/peers/zookeeper.sh}
ensembles=(ours) class_path=
if [[ -f $zookeeper ]]; then
  class_path=$(bash "$(readlink -f "$zookeeper")" classpath); ensembles=(ours zookeeper)
else
  echo "no ZooKeeper starter at $zookeeper (ZOOKEEPER_START): measuring only ourselves" >&2
fi

if [[ -n ${WORK:-} ]]; then work=$WORK; mkdir -p "$work"; remove_work=; else work=$(mktemp -d "$PWD/ensemble.XXXXXX"); remove_work=1; fi
results=$work/results; : > "$results"
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

members=(1 2 3)
declare -A pid=() host=() port=()     # by member, of the ensemble that runs
running=                              # which one that is

# ---- processes; every one that is ended was started here, by its id
alive() { [[ -n ${1:-} && -d /proc/$1 && $(awk '{print $3}' "/proc/$1/stat" 2>/dev/null) != Z ]]; }

end() { # member signal
  local p=${pid[$1]:-}
  [[ -n $p ]] || return 0
  kill -CONT "$p" 2>/dev/null || true
  kill "-$2" "$p" 2>/dev/null || true
  for _ in $(seq 200); do alive "$p" || break; sleep 0.05; done
  if alive "$p"; then kill -KILL "$p" 2>/dev/null || true; fi
  wait "$p" 2>/dev/null || true
  pid[$1]=
}
stop() { local n; for n in "${members[@]}"; do end "$n" "${1:-TERM}"; done; running=; }

finish() {
  local code=$?
  stop KILL
  if declare -F network_down > /dev/null; then network_down; fi
  if [[ -n $remove_work ]]; then rm -rf "$work"; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

ask() { # member word: the answer, nothing if there is none in two seconds
  timeout 2 bash -c 'exec 9<>"/dev/tcp/$0/$1" && printf "%s" "$2" >&9 && cat <&9' "${host[$1]}" "${port[$1]}" "$2" 2>/dev/null || true
}
mode() { ask "$1" srvr | sed -n 's/^Mode: //p'; }
leader() { # among the members given: the one that leads; nothing if none does
  local n
  for n in "$@"; do if [[ $(mode "$n") == leader ]]; then echo "$n"; return; fi; done
}
milliseconds() { local t=$EPOCHREALTIME; echo $(( ${t/./} / 1000 )); }

launch() { # member: on the data it has
  local folder=$work/$running/$1 through=()
  if [[ ${host[$1]} != 127.0.0.1 ]]; then through=(ip netns exec "$net-$1"); fi
  if [[ $running == ours ]]; then
    "${through[@]}" "$binary" serve --config "$folder/zoo.cfg" >> "$folder/log" 2>&1 &
  else
    # shellcheck disable=SC2086 # several options
    "${through[@]}" java ${ZOOKEEPER_JVM:--Xmx1g} -cp "$class_path" \
      org.apache.zookeeper.server.quorum.QuorumPeerMain "$folder/zoo.cfg" >> "$folder/log" 2>&1 &
  fi
  pid[$1]=$!
}

until_all_serve() { # all members follow or lead, and one leads
  local n m from leads; from=$(milliseconds)
  while :; do
    leads=0
    for n in "${members[@]}"; do
      if ! alive "${pid[$n]}"; then
        echo "$running: member $n ended:" >&2; tail -n 5 "$work/$running/$n/log" >&2; exit 1
      fi
      m=$(mode "$n")
      case $m in leader) leads=$((leads + 1)) ;; follower) ;; *) leads=9 ;; esac
    done
    if ((leads == 1)); then return; fi
    if (($(milliseconds) - from > 120000)); then echo "$running: not all members serve after 120 s" >&2; exit 1; fi
    sleep 0.1
  done
}

fresh() { # ensemble [network]: starts it with empty folders, in namespaces if asked to
  stop
  running=$1
  rm -rf "${work:?}/$running"
  local n lines="" base=24300
  if [[ $running == zookeeper ]]; then base=24700; fi
  for n in "${members[@]}"; do
    host[$n]=127.0.0.1
    if [[ ${2:-} == network ]]; then host[$n]=10.214.0.$n; fi
    port[$n]=$((base + n))
    lines+="server.$n=${host[$n]}:$((base + 100 + n)):$((base + 200 + n)):participant;${host[$n]}:${port[$n]}"$'\n'
  done
  for n in "${members[@]}"; do
    mkdir -p "$work/$running/$n/data"
    echo "$n" > "$work/$running/$n/data/myid"
    { printf '%s\n' tickTime=2000 initLimit=10 syncLimit=5 "dataDir=$work/$running/$n/data" maxClientCnxns=0 \
        4lw.commands.whitelist=\* admin.enableServer=false; printf '%s' "$lines"; } > "$work/$running/$n/zoo.cfg"
    launch "$n"
  done
  until_all_serve
  servers=
  for n in "${members[@]}"; do servers+=${servers:+,}${host[$n]}:${port[$n]}; done
}
