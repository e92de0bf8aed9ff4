#!/usr/bin/env bash
# ZooKeeper 3.9.5 writes a snapshot of the whole tree at each start, and purging keeps the newest by number: three starts push out
# all older ones.
#
# Guess: snapshots come after snapCount transactions (100,000), and perhaps on a clean stop; keeping 3 of them keeps days or weeks to
#   go back to.
# Instead: a clean stop writes none; a start always does, as soon as one transaction has come since the last, and with the first
#   transaction after it a new log of 64 MiB is begun. A session that is opened and closed is enough. After four restarts,
#   PurgeTxnLog with the least number it takes (3, also the default of autopurge) leaves no file from before the first restart.
# Why it matters: a server that is restarted by its supervisor again and again, because of what is in its data, destroys in a few
#   minutes the history that would be needed to go back behind it, and writes the whole tree each time. Right after a clean stop the
#   newest snapshot lacks all that came since the start: a copy of snapshots alone is no backup.
# Documents: ZooKeeper, Administrator's Guide, "Ongoing Data Directory Cleanup" and autopurge.snapRetainCount, "retains the
#   autopurge.snapRetainCount most recent snapshots"; snapCount: "the number of transactions recorded in the transaction log before a
#   snapshot can be taken". Starts are mentioned in neither.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
files() { (cd "$work/zk/data/version-2" && ls -d "$1".* | sed 's/.*\.//' | while read -r zxid; do echo $((16#$zxid)); done | sort -n | tr '\n' ' ' | sed 's/ $//'); }
session() { "$python" -c 'import sys; from kazoo.client import KazooClient; c = KazooClient("127.0.0.1:" + sys.argv[1]); c.start(); c.stop()' "$zookeeper_port"; }
zookeeper_start "$work/zk"
"$python" -c 'import sys; from kazoo.client import KazooClient; c = KazooClient("127.0.0.1:" + sys.argv[1]); c.start(); [c.create("/n-", b"", sequence=True) for _ in range(8)]; c.stop()' "$zookeeper_port"
end "$zookeeper_pid"
{
  echo "snapshots after the first stop = $(files snapshot)"
  for ((restart = 1; restart <= 4; restart++)); do
    zookeeper_start "$work/zk" > "$work/log"
    session
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
