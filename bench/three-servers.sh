# Ensembles of three servers on this machine, one ensemble at a time: ours, or ZooKeeper's. Sourced after lib.sh.
#
# Setting: ZOOKEEPER_JVM, the options of each of ZooKeeper's JVMs (default -Xmx1g).
# Sets: ensembles, class_path, members; after `fresh NAME` also running, servers, host and port.
# shellcheck shell=bash

ensembles=(ours) class_path=
if [[ -n $zookeeper ]]; then class_path=$(bash "$zookeeper" classpath); ensembles=(ours zookeeper); fi

members=(1 2 3)
declare -A host=() port=()            # of each member of the ensemble that runs
running=                              # the name of that ensemble
servers=                              # its members as clients name them: host:port,host:port,host:port

stop() { local n; for n in "${members[@]}"; do end "$n" TERM; done; running=; }

mode() { four_letters "${host[$1]}" "${port[$1]}" srvr | sed -n 's/^Mode: //p'; } # of a member
leader() { # members: the one that leads; nothing if none does
  local n
  for n in "$@"; do if [[ $(mode "$n") == leader ]]; then echo "$n"; return; fi; done
}

launch() { # member: starts it on the data it has
  local folder=$work/$running/$1 through=()
  # Another address than this machine's means a network namespace: see ensemble.sh.
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

until_all_serve() { # returns once every member follows or leads, and one leads
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

fresh() { # ensemble [network]: starts it with empty folders; with `network`, each member in its own network namespace
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
