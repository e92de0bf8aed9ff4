#!/usr/bin/env bash
# ZooKeeper 3.9.5: the four letter words for watches (wchs, wchp, wchc) do not show watches on children.
#
# Guess: `wchs` counts all watches on the server. `wchp` and `wchc` list them, by path and by session.
# Instead: The three words read only the table of data watches (getData, exists). They do not mention a client that has
#   3 getChildren watches. `mntr` does count these (zk_watch_count). A persistent watch is in both tables: `wchs` counts
#   1, `mntr` counts 2. A recursive watch is in the data table only.
# Why it matters: These words are the tool to find the client that leaks watches. Service discovery, caches and lock
#   queues watch children, so the words cannot find them. The total of `wchs` does not match zk_watch_count.
# Documents: ZooKeeper, Administrator's Guide, "The Four Letter Words": wchs "Lists brief information on watches for the
#   server", wchp "Lists detailed information on watches for the server, by path. This outputs a list of paths (znodes)
#   with associated sessions". Programmer's Guide, "ZooKeeper Watches", names two lists, data watches and child watches.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk"
cat > "$work/Watch.java" <<'JAVA'
import java.util.List;
import org.apache.zookeeper.*;

class Watch {
    static String port;

    static String ask(String word) throws Exception {
        try (java.net.Socket s = new java.net.Socket("127.0.0.1", Integer.parseInt(port))) {
            s.getOutputStream().write(word.getBytes());
            return new String(s.getInputStream().readAllBytes());
        }
    }

    static void report(String after) throws Exception {
        String mntr = ask("mntr").lines().filter(l -> l.startsWith("zk_watch_count")).findFirst().get().split("\t")[1];
        System.out.println(after + ", wchs = " + String.join("; ", ask("wchs").strip().split("\n")));
        System.out.println(after + ", mntr = " + mntr);
    }

    public static void main(String[] args) throws Exception {
        port = args[0];
        ZooKeeper zk = new ZooKeeper("127.0.0.1:" + port, 10000, e -> {});
        for (String path : List.of("/a", "/b", "/c")) {
            zk.create(path, null, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            zk.getChildren(path, e -> {});
        }
        report("3 child watches");
        System.out.println("paths of wchp = " + ask("wchp").lines().filter(l -> l.startsWith("/")).toList());
        System.out.println("sessions of wchc = " + ask("wchc").lines().filter(l -> l.startsWith("0x")).count());
        for (String path : List.of("/d", "/e")) zk.create(path, null, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.getData("/a", e -> {}, null);
        report("and 1 data watch");
        zk.addWatch("/d", e -> {}, AddWatchMode.PERSISTENT);
        report("and 1 persistent watch");
        zk.addWatch("/e", e -> {}, AddWatchMode.PERSISTENT_RECURSIVE);
        report("and 1 recursive watch");
        zk.close();
    }
}
JAVA
run_java_program "$work/Watch.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
3 child watches, wchs = 0 connections watching 0 paths; Total watches:0
3 child watches, mntr = 3
paths of wchp = []
sessions of wchc = 0
and 1 data watch, wchs = 1 connections watching 1 paths; Total watches:1
and 1 data watch, mntr = 4
and 1 persistent watch, wchs = 1 connections watching 2 paths; Total watches:2
and 1 persistent watch, mntr = 6
and 1 recursive watch, wchs = 1 connections watching 3 paths; Total watches:3
and 1 recursive watch, mntr = 7
SEEN
finish
