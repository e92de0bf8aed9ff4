#!/usr/bin/env bash
# Curator 5.9.0 on ZooKeeper 3.9.5: the numbers of lock nodes start at 0 again when nobody has held the lock for a
# while.
#
# Guess: The number at the end of a lock node only grows, so it can serve as a fencing token.
# Instead: The counter belongs to the lock's parent, which Curator creates as a container. When the last holder is gone,
#   the server deletes the container. It checks each minute; here each 300 ms. The next holder creates a new container
#   with a new counter, so the third holder below gets the number of the first.
# Why it matters: A storage service that compares such tokens refuses the new holder, or accepts an old one. The czxid
#   of the lock node does grow for ever and is the right token.
# Documents: ZooKeeper, Programmer's Guide, "Sequence Nodes": "a monotonically increasing counter" that "is unique to
#   the parent znode". The documentation of Curator's Shared Reentrant Lock does not say that the parent is a container.
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
