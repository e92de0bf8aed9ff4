#!/usr/bin/env bash
# ZooKeeper 3.9.5, all defaults: a client can write data that no client with the defaults, itself included, can read.
#
# Guess: jute.maxbuffer (1,048,575 bytes on both sides) bounds what can be stored; what setData has accepted getData
#   returns.
# Instead: the server bounds requests, the client bounds replies, and a reply is the larger of the two: setData of n
#   bytes at /b is a frame of n + 22 bytes, the reply of getData one of n + 88, since it carries the stat. The last 66
#   sizes are accepted and then end the connection of every client that asks for them. The session goes on, so each try
#   costs a reconnect, and the application sees ConnectionLoss, which by the book is to be retried. Only the client's log
#   names the length.
# Why it matters: one oversized write is a poison pill for all readers of that node, with an error that looks like a
#   network failure, and retrying makes a loop. The same sum applies wherever the two bounds are set to one value. A
#   server can prevent it: by refusing data longer than the bound less 88.
# Documents: ZooKeeper, Administrator's Guide, "Unsafe Options", jute.maxbuffer: "the maximum size of the data that can be
#   stored in a znode", to be set to one value on all servers and clients; trouble in reading is foretold only for clients
#   with a smaller value than the server's. Here both have the same.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
zookeeper_start "$work/zk"
cat > "$work/Limit.java" <<'JAVA'
import org.apache.zookeeper.*;

class Limit {
    static String outcome(java.util.concurrent.Callable<Object> call) {
        try {
            return call.call().toString();
        } catch (Exception e) {
            return e.getClass().getSimpleName();
        }
    }

    static ZooKeeper open(String port) throws Exception { return new ZooKeeper("127.0.0.1:" + port, 10000, e -> {}); }

    public static void main(String[] args) throws Exception {
        ZooKeeper zk = open(args[0]);
        zk.create("/b", null, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        long session = zk.getSessionId();
        for (int n : new int[] {0xfffff - 88, 0xfffff - 87, 0xfffff - 22, 0xfffff - 21}) {
            System.out.println("setData of " + n + " bytes = " + outcome(() -> zk.setData("/b", new byte[n], -1).getDataLength()));
            System.out.println("exists after " + n + " = " + outcome(() -> zk.exists("/b", false).getDataLength()));
            System.out.println("getData after " + n + " = " + outcome(() -> zk.getData("/b", false, null).length));
        }
        System.out.println("getData again = " + outcome(() -> zk.getData("/b", false, null).length));
        System.out.println("same session = " + (outcome(() -> zk.exists("/", false).getVersion()).equals("0") && zk.getSessionId() == session));
        ZooKeeper other = open(args[0]);
        System.out.println("getData by another client = " + outcome(() -> other.getData("/b", false, null).length));
        other.close();
        zk.close();
    }
}
JAVA
run_java_program "$work/Limit.java" "$zookeeper_port" > "$work/seen" 2> "$work/log"
expect_lines "$work/seen" <<'SEEN'
setData of 1048487 bytes = 1048487
exists after 1048487 = 1048487
getData after 1048487 = 1048487
setData of 1048488 bytes = 1048488
exists after 1048488 = 1048488
getData after 1048488 = ConnectionLossException
setData of 1048553 bytes = 1048553
exists after 1048553 = 1048553
getData after 1048553 = ConnectionLossException
setData of 1048554 bytes = ConnectionLossException
exists after 1048554 = 1048553
getData after 1048554 = ConnectionLossException
getData again = ConnectionLossException
same session = true
getData by another client = ConnectionLossException
SEEN
finish
