#!/usr/bin/env bash
# Curator 5.9.0 replaces the connect string that it was given with the client addresses in /zookeeper/config, on the
# first connection.
#
# Guess: A client that is told to connect to a tunnel, a load balancer or a forwarded port keeps using it, as the plain
#   Java client does. Addresses matter only after a reconfiguration.
# Instead: Curator reads /zookeeper/config at the first connection, without any reconfiguration, and takes over its
#   addresses. getCurrentConnectionString() shows them at once. The plain client below learns of them when the
#   connection first breaks. After the second break it connects directly, although the proxy still listens.
#   ensembleTracker(false) turns this off.
# Why it matters: The servers' own addresses win over the client's configuration. Behind NAT, in containers or through a
#   tunnel, clients work for hours and then fail. In a migration between ensembles, /zookeeper/config decides where
#   Curator clients go. A server that stands in front of ZooKeeper must not show ZooKeeper's addresses there. On a
#   standalone server the node is empty, so tests with one server show nothing.
# Documents: Javadoc of CuratorFrameworkFactory.Builder.connectString: "Set the list of servers to connect to"; of
#   ensembleTracker: "if the ensemble configuration changes will be watched". Nothing changes here. ZooKeeper, Dynamic
#   Reconfiguration, "Rebalancing Client Connections", leaves it to the application to call updateServerList.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
# An ensemble of one: a standalone server would have nothing in /zookeeper/config.
mkdir -p "$work/member/data"
echo 1 > "$work/member/data/myid"
port=$(free_port)
printf '%s\n' tickTime=2000 initLimit=5 syncLimit=5 "dataDir=$work/member/data" standaloneEnabled=false admin.enableServer=false \
  '4lw.commands.whitelist=*' "server.1=127.0.0.1:$(free_port):$(free_port);127.0.0.1:$port" > "$work/member/zoo.cfg"
start_java "$work/member/log" org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/member/zoo.cfg"
for ((n = 0; n < 300; n++)); do
  [[ $(four "$port" isro 2> /dev/null || true) == rw ]] && break
  sleep 0.2
done
cat > "$work/Tunnel.java" <<'JAVA'
import java.util.function.BooleanSupplier;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryNTimes;

class Tunnel {
    static void settle(BooleanSupplier condition) throws Exception {
        for (int i = 0; i < 50 && !condition.getAsBoolean(); i++) Thread.sleep(100);
    }

    static void run(String label, int port, boolean tracker) throws Exception {
        Proxy proxy = new Proxy(port);
        String given = "127.0.0.1:" + proxy.port;
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(given).ensembleTracker(tracker)
            .retryPolicy(new RetryNTimes(30, 200)).build();
        client.start();
        client.blockUntilConnected();
        long session = client.getZookeeperClient().getZooKeeper().getSessionId();
        settle(() -> !client.getZookeeperClient().getCurrentConnectionString().equals(given));
        String now = client.getZookeeperClient().getCurrentConnectionString();
        if (now.equals(given)) now = "as given";
        if (now.equals("127.0.0.1:" + port)) now = "the server's own address";
        System.out.println(label + ", connect string = " + now);
        for (int i = 1; i <= 3; i++) {
            int before = proxy.accepted.get();
            proxy.cut();
            proxy.heal();
            Thread.sleep(500);
            client.checkExists().forPath("/");
            if (i > 1) System.out.println(label + ", break " + i + ", came back through the proxy = " + (proxy.accepted.get() > before));
        }
        System.out.println(label + ", same session = " + (client.getZookeeperClient().getZooKeeper().getSessionId() == session));
        client.close();
    }

    public static void main(String[] args) throws Exception {
        run("default", Integer.parseInt(args[0]), true);
        run("ensembleTracker(false)", Integer.parseInt(args[0]), false);
    }
}
JAVA
run_java_program "$work/Tunnel.java" "$port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
default, connect string = the server's own address
default, break 2, came back through the proxy = false
default, break 3, came back through the proxy = false
default, same session = true
ensembleTracker(false), connect string = as given
ensembleTracker(false), break 2, came back through the proxy = true
ensembleTracker(false), break 3, came back through the proxy = true
ensembleTracker(false), same session = true
SEEN
finish
