#!/usr/bin/env bash
# ZooKeeper 3.9.5: a refused write takes a zxid, goes through the quorum and is written to the log, as a successful one
# is.
#
# Guess: The leader checks a write first. "Node exists", "bad version" and "no node" go back to the client. Nothing
#   changes, so nothing is logged.
# Instead: Each refusal becomes a transaction of type "error" with a zxid of its own. A multi that has only checks is a
#   transaction too, whether the checks hold or not. A sync and a read take no zxid.
# Why it matters: "Create until it works" as a lock, or a compare-and-set that mostly loses, costs as much disk and
#   quorum as real writes. It brings the next snapshot nearer (snapCount) and uses up the zxid's 32 bit counter, at
#   whose end the leader steps down. A monitor that takes a higher zxid for changed data is wrong. A compatible server
#   need not log refusals: clients see only that zxids grow.
# Documents: ZooKeeper, Programmer's Guide, "Time in ZooKeeper": "Every change to the ZooKeeper state receives a stamp
#   in the form of a zxid." The guide does not say that refusals get one.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
zookeeper_start "$work/zk"
"$python" - "$zookeeper_port" > "$work/seen" <<'PY'
import sys
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

client = KazooClient("127.0.0.1:" + sys.argv[1])
client.start()
client.create("/a", b"")


def zxid():
    line = [line for line in client.command(b"srvr").splitlines() if line.startswith("Zxid")][0]
    return int(line.split()[1], 16)


def cost(what, call):
    before = zxid()
    for _ in range(10):
        try:
            call()
        except KazooException:
            pass
    print("zxids of 10 times %s = %d" % (what, zxid() - before))


def checks(version):
    transaction = client.transaction()
    transaction.check("/a", version)
    transaction.commit()


cost("create, node exists", lambda: client.create("/a", b""))
cost("set, bad version", lambda: client.set("/a", b"", version=7))
cost("delete, no node", lambda: client.delete("/b"))
cost("multi of a check that holds", lambda: checks(0))
cost("multi of a check that fails", lambda: checks(7))
cost("sync and get", lambda: (client.sync("/a"), client.get("/a")))
client.stop()
PY
end "$zookeeper_pid"
run_java org.apache.zookeeper.server.persistence.TxnLogToolkit "$work/zk/data/version-2/log.1" > "$work/log" 2>&1 || true
for code in -110 -103 -101; do echo "entries 'error $code' in the log = $(grep -c " error $code\$" "$work/log")"; done >> "$work/seen"
expect_lines "$work/seen" <<'SEEN'
zxids of 10 times create, node exists = 10
zxids of 10 times set, bad version = 10
zxids of 10 times delete, no node = 10
zxids of 10 times multi of a check that holds = 10
zxids of 10 times multi of a check that fails = 10
zxids of 10 times sync and get = 0
entries 'error -110' in the log = 10
entries 'error -103' in the log = 10
entries 'error -101' in the log = 10
SEEN
finish
