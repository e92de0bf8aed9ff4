#!/usr/bin/env bash
# ZooKeeper 3.9.5: its own snapshot tool shows other values of cversion and ephemeralOwner than clients read of the same
# nodes.
#
# Guess: SnapshotFormatter (zkSnapShotToolkit.sh) shows the stat of each node. A snapshot and the live tree at the same
#   zxid are equal in all fields.
# Instead: The cversion on disk counts created children only. The server computes the client's value from it: twice the
#   count less the number of children. With 3 children created and 2 deleted, the file says 3 and clients read 5. The
#   ephemeralOwner on disk also holds the kind of node: 0x8000000000000000 for a container, 0xff and the milliseconds
#   for a TTL node. Clients read 0 for both.
# Why it matters: An importer that takes the file's cversion for the client's numbers the next sequential nodes wrongly:
#   the counter is the one on disk. An importer that takes a nonzero ephemeralOwner for an ephemeral node drops
#   containers. A comparison of a backup with a live server reports false differences. No client can read a node's TTL.
# Documents: ZooKeeper, Programmer's Guide, "ZooKeeper Stat Structure": cversion is "the number of changes to the
#   children of this znode", ephemeralOwner "the session id of the owner" or zero. Tools, zkSnapShotToolkit.sh: "showing
#   the detailed information of the each zk-node", under the same names.
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
