#!/usr/bin/env bash
# ZooKeeper 3.9.5, Java client with a chroot: the results of multi() and all paths of getEphemerals() are the server's
# paths.
#
# Guess: A client opened with "host:port/app" sees its tree from /app down. All paths in arguments and results are
#   relative to /app, as those of create() are.
# Instead: The paths of created nodes in the results of multi() and Transaction.commit() begin with /app. Used again
#   with the same client, such a path names /app/app/..., which does not exist. getEphemerals() sends its prefix without
#   the chroot: "/locks" finds nothing and "/app/locks" finds the nodes. Its results begin with /app too.
# Why it matters: For a sequential node the result is the only way to learn the name. "Create in a transaction, delete
#   later" works until somebody puts a chroot into the connect string. The server never sees the chroot, so it cannot
#   help.
# Documents: ZooKeeper, Programmer's Guide, "ZooKeeper Sessions": with a chroot suffix the client runs its commands
#   "while interpreting all paths relative to this root". Javadoc of
#   org.apache.zookeeper.ZooKeeper.getEphemerals(String): "all the ephemeral nodes matching prefixPath".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk"
cat > "$work/Chroot.java" <<'JAVA'
import java.util.List;
import org.apache.zookeeper.*;

class Chroot {
    public static void main(String[] args) throws Exception {
        var acl = ZooDefs.Ids.OPEN_ACL_UNSAFE;
        ZooKeeper root = new ZooKeeper("127.0.0.1:" + args[0], 10000, e -> {});
        root.create("/app", null, acl, CreateMode.PERSISTENT);
        ZooKeeper zk = new ZooKeeper("127.0.0.1:" + args[0] + "/app", 10000, e -> {});
        zk.create("/locks", null, acl, CreateMode.PERSISTENT);
        System.out.println("create = " + zk.create("/locks/a-", null, acl, CreateMode.EPHEMERAL_SEQUENTIAL));
        var results = zk.multi(List.of(Op.create("/locks/b-", null, acl, CreateMode.EPHEMERAL_SEQUENTIAL)));
        String path = ((OpResult.CreateResult) results.get(0)).getPath();
        System.out.println("multi = " + path);
        System.out.println("exists of what multi returned = " + (zk.exists(path, false) != null));
        results = zk.transaction().create("/locks/c-", null, acl, CreateMode.EPHEMERAL_SEQUENTIAL).commit();
        System.out.println("transaction = " + ((OpResult.CreateResult) results.get(0)).getPath());
        System.out.println("getEphemerals of /locks = " + zk.getEphemerals("/locks").size());
        System.out.println("getEphemerals of /app/locks = " + zk.getEphemerals("/app/locks").size());
        System.out.println("getEphemerals = " + zk.getEphemerals().stream().sorted().toList());
        System.out.println("getAllChildrenNumber of / = " + zk.getAllChildrenNumber("/"));
        zk.close();
        root.close();
    }
}
JAVA
run_java_program "$work/Chroot.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
create = /locks/a-0000000000
multi = /app/locks/b-0000000001
exists of what multi returned = false
transaction = /app/locks/c-0000000002
getEphemerals of /locks = 0
getEphemerals of /app/locks = 3
getEphemerals = [/app/locks/a-0000000000, /app/locks/b-0000000001, /app/locks/c-0000000002]
getAllChildrenNumber of / = 4
SEEN
finish
