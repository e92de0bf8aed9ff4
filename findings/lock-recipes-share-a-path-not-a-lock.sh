#!/usr/bin/env bash
# kazoo 2.11.0 and Curator 5.9.0: locks on the same path exclude each other in one direction only, even when kazoo is
# told how Curator names its nodes.
#
# Guess: Both implement ZooKeeper's recipe: the lowest sequence number holds the lock. So a service in Python and one in
#   Java that lock /locks/door exclude each other. kazoo's `extra_lock_patterns`, made for "cross-implementation
#   compatibility", handles the different node names.
# Instead: Each looks only for nodes of its own form. kazoo counts Curator's nodes ("-lock-") if told to. Curator cannot
#   be told, and ranks a node of another form by its whole name. While kazoo holds the lock with number 0, Curator
#   compares its own "0000000001" with kazoo's "<random hex>__lock__0000000000", finds its own lower, and holds the lock
#   as well.
# Why it matters: Both calls of acquire() return true. No test in one language finds this. A lock that several languages
#   share needs one recipe that all of them implement, or a primitive of the server.
# Documents: ZooKeeper, "Recipes and Solutions", "Locks": nodes are named guid-lock-, and the lowest number holds.
#   Docstring of kazoo.recipe.lock.Lock, extra_lock_patterns: "Strings that will be used to identify other znode in the
#   path that should be considered contenders for this lock. Use this for cross-implementation compatibility."
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
zookeeper_start "$work/zk"
# Each program acquires, says so, and holds until a line comes in or its input ends.
cat > "$work/Curator.java" <<'JAVA'
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

class Curator {
    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient("127.0.0.1:" + args[0], new RetryOneTime(100));
        client.start();
        boolean acquired = new InterProcessMutex(client, args[1]).acquire(3, TimeUnit.SECONDS);
        System.out.println(acquired);
        System.in.read();
        client.close();
    }
}
JAVA
cat > "$work/lock.py" <<'PY'
import sys
from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout

client = KazooClient("127.0.0.1:" + sys.argv[1])
client.start()
try:
    print(client.Lock(sys.argv[2], "me", extra_lock_patterns=sys.argv[3:]).acquire(timeout=3), flush=True)
except LockTimeout:
    print(False)
sys.stdin.read(1)
client.stop()
PY
javac -J-XX:TieredStopAtLevel=1 -cp "$zookeeper_classpath" -d "$work/classes" "$work/Curator.java"
curator() { zookeeper_classpath=$work/classes:$zookeeper_classpath run_java Curator "$zookeeper_port" "$@" 2> "$work/log"; }
kazoo() { "$python" "$work/lock.py" "$zookeeper_port" "$@" 2> "$work/log"; }

# while_held PATH HOLDER CONTENDER [PATTERN...]: who of the two holds the lock when the first has it and the second tries.
while_held() {
  local path=$1 holder=$2 contender=$3 first second label pid
  shift 3
  label="$holder holds, $contender acquires"
  if [[ $holder == kazoo ]]; then coproc HOLDER { kazoo "$path" "$@"; }; else coproc HOLDER { curator "$path"; }; fi
  pid=$HOLDER_PID
  read -r first <&"${HOLDER[0]}"
  if [[ $contender == kazoo ]]; then second=$(kazoo "$path" "$@" < /dev/null); else second=$(curator "$path" < /dev/null); fi
  echo "${1:+patterns, }$label = ${first,,}, ${second,,}" >> "$work/seen"
  echo >&"${HOLDER[1]}"
  wait "$pid" || true
}
while_held /locks/a kazoo kazoo
while_held /locks/b kazoo curator
while_held /locks/c curator kazoo
while_held /locks/d kazoo curator -lock-
while_held /locks/e curator kazoo -lock-
expect_lines "$work/seen" <<'SEEN'
kazoo holds, kazoo acquires = true, false
kazoo holds, curator acquires = true, true
curator holds, kazoo acquires = true, true
patterns, kazoo holds, curator acquires = true, true
patterns, curator holds, kazoo acquires = true, false
SEEN
finish
