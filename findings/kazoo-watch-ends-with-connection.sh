#!/usr/bin/env bash
# kazoo 2.11.0: when the connection breaks, kazoo calls each watch function once, with an event that has no type and no
# path, and then forgets the watch. The session goes on.
#
# Guess: A watch that get() or get_children() has left survives a broken connection. The client resumes the session and
#   sends its watches again (SetWatches). A change made in between fires them.
# Instead: kazoo never sends SetWatches. When the connection breaks, it calls all watch functions with
#   WatchedEvent(type='NONE', state='CONNECTING', path=None) and forgets them. The session resumes with the same id. No
#   watch function hears of the change made in between or of any later change.
# Why it matters: Code that ignores events without a type stops watching at the first restart of a server or a load
#   balancer. No error is raised. On the server the number of watches falls with each reconnect. DataWatch and
#   ChildrenWatch are not affected: they read the node again.
# Documents: kazoo, Basic Usage, "Watchers": one-time watch functions "will be called once by kazoo, and do *not*
#   receive session events, unlike the native Zookeeper watches". ZooKeeper, Programmer's Guide, "ZooKeeper Watches":
#   "When a client reconnects, any previously registered watches will be reregistered and triggered if needed."
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
zookeeper_start "$work/zk"
PYTHONPATH=$(cd "$(dirname "$0")" && pwd) "$python" - "$zookeeper_port" > "$work/seen" 2> "$work/log" <<'PY'
import sys, time
from kazoo.client import KazooClient
from kazoo.recipe.watchers import DataWatch
from proxy import Proxy

proxy = Proxy(int(sys.argv[1]))
direct = KazooClient("127.0.0.1:" + sys.argv[1])
direct.start()
client = KazooClient("127.0.0.1:%d" % proxy.port, timeout=20)
client.start()


def settle(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.1)



direct.create("/config", b"1")
events, seen_by_data_watch = [], []
client.get("/config", watch=lambda e: events.append("%s %s %s" % (e.type, e.state, e.path)))
DataWatch(client, "/config", lambda data, stat: seen_by_data_watch.append(data.decode()))
session = client.client_id

proxy.cut()
settle(lambda: events)
direct.set("/config", b"2")
proxy.heal()
settle(lambda: client.connected)
settle(lambda: len(seen_by_data_watch) == 2)
direct.set("/config", b"3")
settle(lambda: len(seen_by_data_watch) == 3)

print("same session =", client.client_id == session)
print("events of the watch function =", events)
print("values seen by DataWatch =", seen_by_data_watch)
client.stop()
direct.stop()
PY
expect_lines "$work/seen" <<'SEEN'
same session = True
events of the watch function = ['NONE CONNECTING None']
values seen by DataWatch = ['1', '2', '3']
SEEN
finish
