#!/usr/bin/env bash
# Curator 5.9.0: a read in a namespace creates the node of the namespace.
#
# Guess: usingNamespace("tenant") puts "/tenant" in front of all paths. checkExists() returns null and getData() throws
#   NoNode. Nothing is written before the first create().
# Instead: Before the first operation of any kind, Curator creates /tenant. It is a persistent node with an ACL that is
#   open to everyone, unless an ACL provider is set. Curator never deletes it.
# Why it matters: A monitoring tool or a typing error leaves nodes behind. Servers, validators and audit logs see
#   creates from a client that only reads.
# Documents: Javadoc of CuratorFrameworkFactory.Builder.namespace says only: "If a namespace is set here, all paths will
#   get pre-pended with the namespace".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk"
cat > "$work/Namespace.java" <<'JAVA'
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

class Namespace {
    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient("127.0.0.1:" + args[0], new RetryOneTime(100));
        client.start();
        client.blockUntilConnected();
        ZooKeeper zk = client.getZookeeperClient().getZooKeeper();
        System.out.println("children of / at first = " + zk.getChildren("/", false));
        System.out.println("checkExists in a namespace = " + client.usingNamespace("asked").checkExists().forPath("/x"));
        try {
            client.usingNamespace("read").getData().forPath("/x");
        } catch (KeeperException e) {
            System.out.println("getData in a namespace = " + e.code());
        }
        System.out.println("children of / now = " + zk.getChildren("/", false).stream().sorted().toList());
        System.out.println("/asked is open to everyone = " + zk.getACL("/asked", null).equals(ZooDefs.Ids.OPEN_ACL_UNSAFE));
        long before = zk.exists("/", false).getPzxid();
        client.checkExists().forPath("/elsewhere/x"); // the same without a namespace
        System.out.println("without a namespace something is created = " + (zk.exists("/", false).getPzxid() != before));
        client.close();
    }
}
JAVA
run_java_program "$work/Namespace.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
children of / at first = [zookeeper]
checkExists in a namespace = null
getData in a namespace = NONODE
children of / now = [asked, read, zookeeper]
/asked is open to everyone = true
without a namespace something is created = false
SEEN
finish
