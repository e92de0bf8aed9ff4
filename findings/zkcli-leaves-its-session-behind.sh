#!/usr/bin/env bash
# ZooKeeper 3.9.5's zkCli.sh with a command on its command line does not close its session.
#
# Guess: the process has ended, so its session has, and an ephemeral node that it made is gone: a client that ends in
#   good order closes its session, and only a killed one leaves it to the timeout.
# Instead: after the command the client ends its Java machine without closing. Each call, even of `ls /`, leaves a session
#   on the servers for the timeout that it had asked for, 30 s by default, and the ephemeral node of `create -e` is there for
#   the next call to find. Commands fed on standard input with `quit` at the end do close.
# Why it matters: smoke tests ("create -e, then check that it went away") fail for half a minute or pass by luck. A probe
#   that calls zkCli.sh every 5 s keeps 6 sessions alive at any time; each costs two transactions of the ensemble, and
#   its end comes from the leader's expiry, so session counts and expiry alarms show clients dying that never did.
# Documents: ZooKeeper, "ZooKeeper-cli" shows `-e` as "create an ephemeral node" and commands on the command line;
#   Programmer's Guide, "Ephemeral Nodes": they "exist as long as the session that created the znode is active".
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
