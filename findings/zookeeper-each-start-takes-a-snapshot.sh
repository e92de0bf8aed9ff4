#!/usr/bin/env bash
# ZooKeeper 3.9.5 writes a snapshot of the whole tree at each start. Purging keeps the newest snapshots by number, so
# three starts push out all older ones.
#
# Guess: The server takes a snapshot after snapCount transactions (100,000), and perhaps on a clean stop. With 3
#   snapshots kept, an operator can go back by days or weeks.
# Instead: A clean stop writes no snapshot. A start writes one if a transaction has come since the last one; a session
#   that opens and closes is enough. The first transaction after the start begins a new log. After four restarts
#   PurgeTxnLog, with the least number that it takes (3, also autopurge's default), leaves no file from before the first
#   restart.
# Why it matters: A supervisor that restarts a failing server again and again destroys within minutes the history that
#   is needed to go back behind the failure. Each restart also writes the whole tree. After a clean stop the newest
#   snapshot lacks everything since the last start, so a copy of snapshots alone is no backup.
# Documents: ZooKeeper, Administrator's Guide, "Ongoing Data Directory Cleanup"; autopurge.snapRetainCount: "retains the
#   autopurge.snapRetainCount most recent snapshots"; snapCount: "the number of transactions recorded in the transaction
#   log before a snapshot can be taken". Neither mentions starts.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
# The zxids in the names of the files snapshot.* or log.*, in decimal.
files() {
  local file zxids=()
  for file in "$work/zk/data/version-2/$1".*; do zxids+=("$((16#${file##*.}))"); done
  printf '%s\n' "${zxids[@]}" | sort -n | paste -sd ' '
}
# A session that creates COUNT nodes and is closed.
session() {
  "$python" - "$zookeeper_port" "$1" <<'PY'
import sys
from kazoo.client import KazooClient

client = KazooClient("127.0.0.1:" + sys.argv[1])
client.start()
for _ in range(int(sys.argv[2])):
    client.create("/n-", b"", sequence=True)
client.stop()
PY
}
zookeeper_start "$work/zk"
session 8
end "$zookeeper_pid"
{
  echo "snapshots after the first stop = $(files snapshot)"
  for ((restart = 1; restart <= 4; restart++)); do
    zookeeper_start "$work/zk" > "$work/log"
    session 0
    end "$zookeeper_pid"
    echo "snapshots after restart $restart = $(files snapshot)"
  done
  echo "logs after restart 4 = $(files log)"
  run_java org.apache.zookeeper.server.PurgeTxnLog "$work/zk/data" -n 3 > "$work/log" 2>&1 || true
  echo "snapshots after the purge = $(files snapshot)"
  echo "logs after the purge = $(files log)"
} > "$work/seen"
expect_lines "$work/seen" <<'SEEN'
snapshots after the first stop = 0
snapshots after restart 1 = 0 10
snapshots after restart 2 = 0 10 12
snapshots after restart 3 = 0 10 12 14
snapshots after restart 4 = 0 10 12 14 16
logs after restart 4 = 1 11 13 15 17
snapshots after the purge = 12 14 16
logs after the purge = 11 13 15 17
SEEN
finish
