#!/usr/bin/env bash
# ZooKeeper 3.9.5, server and Java client: after a reconnect a persistent watch does not report what changed while the
# client was disconnected. A one-time watch does.
#
# Guess: The reconnecting client sends its watches and the last zxid that it has seen. The server fires the watches
#   whose nodes have changed since, persistent ones too.
# Instead: SetWatches2 carries all kinds, but the server compares the zxid only for one-time watches. It registers
#   persistent and recursive watches again, and they stay silent until the next change. There is one exception: if the
#   client also has a getData watch on the path, the server fires that one, and the client gives the event to all
#   watchers of the path. A test that sets both sees no problem.
# Why it matters: Programs that move from "get, watch, get again" to addWatch lose the guarantee to hear of every state
#   that lasts. After each SyncConnected they must read again what they watch, as Curator's CuratorCache does.
# Documents: ZooKeeper, Programmer's Guide, "ZooKeeper Watches": "any previously registered watches will be reregistered
#   and triggered if needed", with one exception named, for exists watches. "Persistent, Recursive Watches": "the
#   triggering semantics and guarantees (other than one-time triggering) are the same as standard watches".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk"
cat > "$work/Replay.java" <<'JAVA'
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;
import org.apache.zookeeper.*;

class Replay {
    static void settle(BooleanSupplier condition) throws Exception {
        for (int i = 0; i < 150 && !condition.getAsBoolean(); i++) Thread.sleep(100);
    }

    static Watcher into(List<String> list) {
        return e -> { if (e.getType() != Watcher.Event.EventType.None) list.add(e.getType() + " " + e.getPath()); };
    }

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        ZooKeeper writer = new ZooKeeper("127.0.0.1:" + port, 20000, e -> {});
        Proxy proxy = new Proxy(port);
        ZooKeeper zk = new ZooKeeper("127.0.0.1:" + proxy.port, 20000, e -> {});
        for (String path : List.of("/once", "/persistent", "/recursive", "/both")) {
            writer.create(path, null, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        List<String> once = new CopyOnWriteArrayList<>(), persistent = new CopyOnWriteArrayList<>();
        List<String> recursive = new CopyOnWriteArrayList<>(), both = new CopyOnWriteArrayList<>();
        zk.getData("/once", into(once), null);
        zk.addWatch("/persistent", into(persistent), AddWatchMode.PERSISTENT);
        zk.addWatch("/recursive", into(recursive), AddWatchMode.PERSISTENT_RECURSIVE);
        zk.addWatch("/both", into(both), AddWatchMode.PERSISTENT);
        zk.getData("/both", e -> {}, null);
        long session = zk.getSessionId();

        proxy.cut();
        settle(() -> !zk.getState().isConnected());
        for (String path : List.of("/once", "/persistent", "/recursive", "/both")) writer.setData(path, new byte[1], -1);
        proxy.heal();
        settle(() -> zk.getState().isConnected());
        settle(() -> once.size() == 1);
        zk.exists("/once", false); // its reply comes behind whatever the server has fired
        System.out.println("same session = " + (zk.getSessionId() == session));
        System.out.println("getData watch = " + once);
        System.out.println("persistent watch = " + persistent);
        System.out.println("recursive watch = " + recursive);
        System.out.println("persistent watch beside a getData watch = " + both);
        for (String path : List.of("/persistent", "/recursive", "/both")) writer.setData(path, new byte[1], -1);
        settle(() -> both.size() == 2);
        System.out.println("after one more change, persistent watch = " + persistent);
        System.out.println("after one more change, recursive watch = " + recursive);
        zk.close();
        writer.close();
    }
}
JAVA
run_java_program "$work/Replay.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
same session = true
getData watch = [NodeDataChanged /once]
persistent watch = []
recursive watch = []
persistent watch beside a getData watch = [NodeDataChanged /both]
after one more change, persistent watch = [NodeDataChanged /persistent]
after one more change, recursive watch = [NodeDataChanged /recursive]
SEEN
finish
