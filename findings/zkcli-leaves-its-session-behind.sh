#!/usr/bin/env bash
# ZooKeeper 3.9.5: zkCli.sh with a command on its command line does not close its session.
#
# Guess: The process has ended in good order, so its session is closed and its ephemeral node is gone.
# Instead: The client ends its Java machine without closing. Each call, even `ls /`, leaves a session on the server for
#   the requested timeout, 30 s by default. The ephemeral node of `create -e` is there for the next call to find.
#   Commands on standard input that end with `quit` do close the session.
# Why it matters: A smoke test ("create -e, then check that the node went away") fails for half a minute. A probe that
#   calls zkCli.sh every 5 s keeps 6 sessions alive at any time. The leader ends each of them by expiry, so metrics show
#   clients dying that had finished.
# Documents: ZooKeeper, "ZooKeeper-cli", documents `create -e`. Programmer's Guide, "Ephemeral Nodes": such a node
#   "exists as long as the session that created the znode is active".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk" maxSessionTimeout=40000
cli() { run_java org.apache.zookeeper.ZooKeeperMain -server "127.0.0.1:$zookeeper_port" "$@" < /dev/null 2> "$work/log"; }
sessions() { four "$zookeeper_port" dump | grep -c $'^\t0x' || true; }
seen() { echo "$1 = $2" >> "$work/seen"; }
seen "sessions at first" "$(sessions)"
cli create -e /mark x > "$work/out"
seen "exit code of create -e" $?
seen "sessions after create -e" "$(sessions)"
cli ls / > "$work/out"
seen "ls / in a second call" "$(tail -1 "$work/out")"
seen "sessions after both calls" "$(sessions)"
printf 'create -e /other x\nquit\n' | run_java org.apache.zookeeper.ZooKeeperMain -server "127.0.0.1:$zookeeper_port" > "$work/out" 2>&1
cli ls / > "$work/out"
seen "ls / after create -e /other and quit" "$(tail -1 "$work/out")"
expect_lines "$work/seen" <<'SEEN'
sessions at first = 0
exit code of create -e = 0
sessions after create -e = 1
ls / in a second call = [mark, zookeeper]
sessions after both calls = 2
ls / after create -e /other and quit = [mark, zookeeper]
SEEN
finish
