#!/usr/bin/env bash
# ZooKeeper 3.9.5: the four letter word isro answers "null" while the server has no quorum.
#
# Guess: The answer is "ro" or "rw". A server without a quorum takes no writes, so it answers "ro", or the sentence that
#   it is not serving, as srvr, stat and mntr do.
# Instead: The answer is the four bytes `null`. At the same time ruok answers `imok`, and srvr answers "This ZooKeeper
#   instance is not currently serving requests".
# Why it matters: A probe or proxy that asks isro for a writable server and tests for `!= "ro"` sends clients to a
#   server that serves nobody. Client libraries send isro too, to find their way out of read-only mode.
# Documents: ZooKeeper, Administrator's Guide, "The Four Letter Words": 'The server will respond with "ro" if in
#   read-only mode or "rw" if not in read-only mode.'
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
mkdir -p "$work/member/data"
echo 1 > "$work/member/data/myid"
port=$(free_port)
{ printf '%s\n' tickTime=2000 initLimit=5 syncLimit=5 "dataDir=$work/member/data" "clientPort=$port" clientPortAddress=127.0.0.1 \
    admin.enableServer=false '4lw.commands.whitelist=*'
  for i in 1 2 3; do echo "server.$i=127.0.0.1:$(free_port):$(free_port)"; done; } > "$work/member/zoo.cfg"
# Servers 2 and 3 are never started.
start_java "$work/member/log" org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/member/zoo.cfg"
for ((n = 0; n < 300; n++)); do
  [[ $(four "$port" ruok 2> /dev/null || true) == imok ]] && break
  sleep 0.2
done
for word in ruok isro srvr mntr; do echo "one of three, $word = $(four "$port" "$word")"; done > "$work/seen"
zookeeper_start "$work/zk"
echo "standalone, isro = $(four "$zookeeper_port" isro)" >> "$work/seen"
expect_lines "$work/seen" <<'SEEN'
one of three, ruok = imok
one of three, isro = null
one of three, srvr = This ZooKeeper instance is not currently serving requests
one of three, mntr = This ZooKeeper instance is not currently serving requests
standalone, isro = rw
SEEN
finish
