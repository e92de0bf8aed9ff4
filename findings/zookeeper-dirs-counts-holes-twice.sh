#!/usr/bin/env bash
# ZooKeeper 3.9.5: the four letter word dirs reports 128 MiB for a server whose files use 16 KiB of disk.
#
# Guess: datadir_size is the size of the snapshots and logdir_size is the size of the logs. Their sum is what `du`
#   shows.
# Instead: With one folder for both, which is the default, each number is the size of the whole folder, so the sum
#   counts all files twice. A log counts with the 64 MiB that it is extended to at its first entry. Most of that is a
#   hole in the file. After one write both numbers are 67,109,358.
# Why it matters: Alarms and capacity plans by these numbers are wrong by large factors. The AdminServer's
#   /commands/dirs has the same numbers.
# Documents: ZooKeeper, Administrator's Guide, "The Four Letter Words", dirs: "Shows the total size of snapshot and log
#   files in bytes". "The AdminServer", dirs: "Information on logfile directory and snapshot directory size in bytes".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
write() {
  "$python" - "$zookeeper_port" <<'PY'
import sys
from kazoo.client import KazooClient

client = KazooClient("127.0.0.1:" + sys.argv[1])
client.start()
client.create("/a", b"x")
client.stop()
PY
}
report() {
  local dir=$2 other=$3 word data log used
  word=$(four "$zookeeper_port" dirs)
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
