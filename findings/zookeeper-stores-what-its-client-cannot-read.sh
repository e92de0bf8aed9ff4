#!/usr/bin/env bash
# ZooKeeper 3.9.5 with all defaults: a client can write data that no client can read, itself included.
#
# Guess: jute.maxbuffer (1,048,575 bytes on both sides) bounds what can be stored. getData returns what setData stored.
# Instead: The server bounds requests and the client bounds replies, and the reply is larger. setData of n bytes at /b
#   is a frame of n + 22 bytes. The reply of getData is n + 88 bytes, because it carries the stat. The server accepts
#   the last 66 sizes, and each getData then ends the reader's connection. The session goes on. The application sees
#   ConnectionLoss, which the documentation calls recoverable. Only the client's log names the length.
# Why it matters: One oversized write makes a node unreadable for everybody, with an error that looks like a network
#   failure. Retrying makes a loop. The same holds for any value set on both sides. A server can prevent it by refusing
#   data longer than the bound less 88 bytes.
# Documents: ZooKeeper, Administrator's Guide, "Unsafe Options", jute.maxbuffer: "the maximum size of the data that can
#   be stored in a znode". The text warns of trouble only for a client whose value is smaller than the server's. Here
#   both are equal.
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
        outcome(() -> zk.exists("/", false)); // connects again
        System.out.println("same session = " + (zk.getState().isConnected() && zk.getSessionId() == session));
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
