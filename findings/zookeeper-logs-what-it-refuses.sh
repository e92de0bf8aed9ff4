#!/usr/bin/env bash
# ZooKeeper 3.9.5: a write that is refused takes a zxid, goes through the quorum and is written to the log like one that is
# done.
#
# Guess: the leader checks a write first; "node exists", "bad version", "no node" go back to the client, and nothing is logged,
#   since nothing changes.
# Instead: each refusal becomes a transaction of type "error" with a zxid of its own, proposed, acknowledged, synced to disk. The
#   same goes for a multi of nothing but checks, whether it holds or not. A read with a sync before it takes none.
# Why it matters: "create until it works" as a lock, or a compare-and-set that mostly loses, costs as much disk and quorum as
#   real writes, brings the next snapshot nearer (snapCount counts it), and uses up the 32 bits of the zxid's counter, at whose
#   end a leader steps down. Who watches the zxid to see whether the data has changed is misled. A server may answer refusals
#   without logging them; clients cannot tell, since zxids only have to grow.
# Documents: ZooKeeper, Programmer's Guide, "Time in ZooKeeper": "Every change to the ZooKeeper state receives a stamp in the form of
#   a zxid." Nothing says that a refusal is one.
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
