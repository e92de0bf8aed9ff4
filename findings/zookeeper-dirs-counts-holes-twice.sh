#!/usr/bin/env bash
# ZooKeeper 3.9.5: the four letter word dirs gives 128 MiB for a server whose files take up some kilobytes.
#
# Guess: datadir_size is the size of the snapshots and logdir_size that of the logs; their sum is what `du` shows.
# Instead: with one folder for both, which is the default, each of the two numbers is that of the whole folder, so that their sum
#   counts all twice. And a log counts with the 64 MiB that it is made long at its first entry, a hole in the file for the most
#   part. After one write: 67,109,358 and 67,109,358, while the files take up less than a mebibyte of disk.
# Why it matters: alarms and capacity plans by these figures (the AdminServer's /commands/dirs has the same)
#   are off by factors, in both directions: they also fall by 64 MiB a log when a copy or a backup leaves out the holes.
# Documents: ZooKeeper, Administrator's Guide, "The Four Letter Words", dirs: "Shows the total size of snapshot and log files in
#   bytes". "The AdminServer", dirs: "Information on logfile directory and snapshot directory size in bytes".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
write() { "$python" -c 'import sys; from kazoo.client import KazooClient; c = KazooClient("127.0.0.1:" + sys.argv[1]); c.start(); c.create("/a", b"x"); c.stop()' "$zookeeper_port"; }
report() {
  local word=$(four "$zookeeper_port" dirs) dir=$2 other=$3
  local data log used
  data=$(sed -n 's/datadir_size: //p' <<< "$word")
  log=$(sed -n 's/logdir_size: //p' <<< "$word")
  used=$(du -s -B1 "$dir" "$other" | awk '{n += $1} END {print n}')
  echo "$1, logdir_size is at least 64 MiB = $((log >= 67108864))"
  echo "$1, datadir_size equals logdir_size = $((data == log))"
  echo "$1, the files take up less than 1 MiB = $((used < 1048576))"
  echo "$1: datadir_size $data, logdir_size $log, disk $used" >&2
}
zookeeper_start "$work/one"
write
report "one folder" "$work/one/data/version-2" "$work/one/data/version-2" > "$work/seen"
zookeeper_start "$work/two" "dataLogDir=$work/two-logs"
write
report "two folders" "$work/two/data/version-2" "$work/two-logs/version-2" >> "$work/seen"
expect_lines "$work/seen" <<'SEEN'
one folder, logdir_size is at least 64 MiB = 1
one folder, datadir_size equals logdir_size = 1
one folder, the files take up less than 1 MiB = 1
two folders, logdir_size is at least 64 MiB = 1
two folders, datadir_size equals logdir_size = 0
two folders, the files take up less than 1 MiB = 1
SEEN
finish
