#!/usr/bin/env bash
# Curator 5.9.0: setData().forPath(path), with the data left out, overwrites the node with the client's IP address.
#
# Guess: without data nothing, null or an empty array is stored, as in create(path, null, ...) of the plain client; the
#   parents that creatingParentsIfNeeded() makes in the same call are indeed empty.
# Instead: the "default data" of a client that has set none is its own address as text. create().forPath(path) stores it,
#   and setData().forPath(path) replaces what was there by it.
# Why it matters: one forgotten argument is a successful write that destroys a value. Trees used through Curator are full
#   of nodes that hold addresses (lock nodes among them): comparisons of two trees differ for no reason, and anonymised
#   dumps are not anonymous.
# Documents: javadoc of org.apache.curator.framework.api.PathAndBytesable.forPath(String): "the default data for the client
#   (usually a byte[0] unless changed via ...defaultData)". Nothing was changed here.
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
