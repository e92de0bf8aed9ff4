#!/usr/bin/env bash
# ZooKeeper 3.9.5: what its own tool reads from a snapshot is not what a client reads of the same nodes: cversion and
# ephemeralOwner differ.
#
# Guess: SnapshotFormatter (zkSnapShotToolkit.sh) shows the stat of each node as `stat` does; a snapshot compared with the live
#   tree at the same zxid is equal in all fields.
# Instead: the cversion on disk counts creations of children only; what clients get is computed from it, as twice that less the
#   children there are. 3 created and 2 deleted: 3 on disk, 5 for clients. And the ephemeralOwner on disk holds the kind of node:
#   0x8000000000000000 for a container, 0xff and the milliseconds for a TTL node, while clients get 0 for both.
# Why it matters: an importer that takes the file's cversion for the client's numbers the next sequential nodes wrongly (the counter
#   is the one on disk), and one that takes ephemeralOwner != 0 for "ephemeral" drops containers as left over from dead sessions.
#   A comparison of a backup with a live server finds differences that are none. Conversely no client can learn a node's TTL.
# Documents: ZooKeeper, Programmer's Guide, "ZooKeeper Stat Structure": cversion is "the number of changes to the children of this
#   znode", ephemeralOwner "the session id of the owner", else zero. Tools, zkSnapShotToolkit.sh: "showing detailed information for
#   each znode", under the same names.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
JVM_FLAGS="-Dzookeeper.extendedTypesEnabled=true" zookeeper_start "$work/zk"
cat > "$work/Tree.java" <<'JAVA'
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.Stat;

class Tree {
    public static void main(String[] args) throws Exception {
        var acl = ZooDefs.Ids.OPEN_ACL_UNSAFE;
        ZooKeeper zk = new ZooKeeper("127.0.0.1:" + args[0], 10000, e -> {});
        zk.create("/parent", null, acl, CreateMode.PERSISTENT);
        for (String child : new String[] {"/a", "/b", "/c"}) zk.create("/parent" + child, null, acl, CreateMode.PERSISTENT);
        zk.delete("/parent/a", -1);
        zk.delete("/parent/b", -1);
        zk.create("/container", null, acl, CreateMode.CONTAINER);
        zk.create("/ttl", null, acl, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 0x123456);
        for (String path : new String[] {"/parent", "/container", "/ttl"}) {
            Stat stat = zk.exists(path, false);
            System.out.println("client, cversion of " + path + " = " + stat.getCversion());
            System.out.println("client, ephemeralOwner of " + path + " = 0x" + Long.toHexString(stat.getEphemeralOwner()));
        }
        zk.close();
    }
}
JAVA
run_java_program "$work/Tree.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
end "$zookeeper_pid"
# A server takes a snapshot when it starts.
JVM_FLAGS="-Dzookeeper.extendedTypesEnabled=true" zookeeper_start "$work/zk"
snapshot=$(ls -t "$work/zk/data/version-2"/snapshot.* | head -1)
run_java org.apache.zookeeper.server.SnapshotFormatter "$snapshot" > "$work/dump" 2> "$work/log"
for path in /parent /container /ttl; do
  for field in cversion ephemeralOwner; do
    echo "snapshot, $field of $path = $(sed -n "\\|^$path\$|,/^----/s/^  $field = //p" "$work/dump")"
  done
done >> "$work/seen"
expect_lines "$work/seen" <<'SEEN'
client, cversion of /parent = 5
client, ephemeralOwner of /parent = 0x0
client, ephemeralOwner of /container = 0x0
client, ephemeralOwner of /ttl = 0x0
snapshot, cversion of /parent = 3
snapshot, ephemeralOwner of /parent = 0x00000000000000
snapshot, ephemeralOwner of /container = 0x8000000000000000
snapshot, ephemeralOwner of /ttl = 0xff00000000123456
SEEN
finish
