#!/usr/bin/env bash
# Curator 5.9.0: setData().forPath(path) without data overwrites the node with the client's IP address.
#
# Guess: Without data Curator stores an empty array, as its javadoc says. The parents that creatingParentsIfNeeded()
#   makes in the same call are indeed empty.
# Instead: The default data of a client is its own address as text. create().forPath(path) stores it.
#   setData().forPath(path) replaces the node's data with it.
# Why it matters: One forgotten argument is a successful write that destroys a value. Nodes made through Curator hold
#   addresses, lock nodes too: comparisons of two trees differ, and dumps meant to be anonymous are not.
# Documents: Javadoc of org.apache.curator.framework.api.PathAndBytesable.forPath(String): "the default data for the
#   client (usually a byte[0] unless changed via ...defaultData)". Nothing was changed here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk"
cat > "$work/DefaultData.java" <<'JAVA'
import java.net.InetAddress;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

class DefaultData {
    /** What is stored at `path`, with this host's address by name, since it differs from host to host. */
    static String data(CuratorFramework client, String path) throws Exception {
        String text = new String(client.getData().forPath(path));
        return text.equals(InetAddress.getLocalHost().getHostAddress()) ? "the address of this host" : "'" + text + "'";
    }

    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient("127.0.0.1:" + args[0], new RetryOneTime(100));
        client.start();
        client.create().creatingParentsIfNeeded().forPath("/parent/child");
        System.out.println("create without data = " + data(client, "/parent/child"));
        System.out.println("its parent = " + data(client, "/parent"));
        client.create().forPath("/precious", "value".getBytes());
        client.setData().forPath("/precious");
        System.out.println("setData without data = " + data(client, "/precious"));
        InterProcessMutex lock = new InterProcessMutex(client, "/lock");
        lock.acquire();
        System.out.println("node of a lock = " + data(client, "/lock/" + client.getChildren().forPath("/lock").get(0)));
        client.close();
        CuratorFramework empty = CuratorFrameworkFactory.builder().connectString("127.0.0.1:" + args[0])
            .retryPolicy(new RetryOneTime(100)).defaultData(new byte[0]).build();
        empty.start();
        empty.create().forPath("/empty");
        System.out.println("create with defaultData(empty) = " + data(empty, "/empty"));
        empty.close();
    }
}
JAVA
run_java_program "$work/DefaultData.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
create without data = the address of this host
its parent = ''
setData without data = the address of this host
node of a lock = the address of this host
create with defaultData(empty) = ''
SEEN
finish
