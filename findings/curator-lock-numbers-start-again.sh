#!/usr/bin/env bash
# Curator 5.9.0 on ZooKeeper 3.9.5: the numbers of lock nodes start at 0 again once nobody has wanted the lock for a minute.
#
# Guess: the number at the end of a lock's node only ever grows, so it serves as a fencing token: whoever comes later has
#   the larger one.
# Instead: the counter belongs to the lock's parent node, and Curator makes that as a container. When the last holder is
#   gone, the server deletes the container (each minute it looks; here each 300 ms), and its grandparent if that was made by
#   Curator too; the next holder makes a new one, with a new counter. The third holder below gets the number of the
#   first.
# Why it matters: a storage service that compares tokens refuses the new holder, or, worse, takes a paused old one (its
#   number 7 against the new holder's 0). What does grow for ever is czxid of the lock's node. A server cannot keep the
#   counter of a deleted node without growing for ever, and must not stop reaping: this is ZooKeeper's own meaning.
# Documents: ZooKeeper, Programmer's Guide, "Sequence Nodes": "a monotonically increasing counter ... unique to the parent
#   znode"; "Container Nodes". Curator, Shared Reentrant Lock, does not say that the parent is a container, nor warns of
#   its numbers.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
JVM_FLAGS="-Dznode.container.checkIntervalMs=300" zookeeper_start "$work/zk"
cat > "$work/Token.java" <<'JAVA'
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.ZooKeeper;

class Token {
    static long lastCzxid = 0;

    static void hold(String who, CuratorFramework client) throws Exception {
        InterProcessMutex lock = new InterProcessMutex(client, "/locks/door");
        lock.acquire();
        String node = client.getChildren().forPath("/locks/door").get(0);
        long czxid = client.checkExists().forPath("/locks/door/" + node).getCzxid();
        System.out.println(who + " holder's number = " + Integer.parseInt(node.substring(node.length() - 10)));
        System.out.println(who + " holder's czxid is larger = " + (czxid > lastCzxid));
        lastCzxid = czxid;
        lock.release();
    }

    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient("127.0.0.1:" + args[0], new RetryOneTime(100));
        client.start();
        client.blockUntilConnected();
        ZooKeeper zk = client.getZookeeperClient().getZooKeeper();
        hold("first", client);
        hold("second", client);
        for (int i = 0; i < 100 && zk.exists("/locks", false) != null; i++) Thread.sleep(100);
        System.out.println("the lock's parent exists = " + (zk.exists("/locks/door", false) != null));
        System.out.println("its parent exists = " + (zk.exists("/locks", false) != null));
        hold("third", client);
        client.close();
    }
}
JAVA
run_java_program "$work/Token.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
first holder's number = 0
first holder's czxid is larger = true
second holder's number = 1
second holder's czxid is larger = true
the lock's parent exists = false
its parent exists = false
third holder's number = 0
third holder's czxid is larger = true
SEEN
finish
