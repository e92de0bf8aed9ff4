"""The README's tour. It needs a local server with the plugin `names` deployed, and `pip install kazoo`."""

from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsError, NodeExistsError

zk = KazooClient("127.0.0.1:2181")
zk.start()
try:
    zk.create("/services/a", b'{"owner":"pay"}', makepath=True)
    print("/services/a: created")
except NodeExistsError:
    print("/services/a: exists already")
try:
    zk.create("/services/b", b"{}")
    print("/services/b: created; is the plugin deployed?")
except BadArgumentsError:
    reason, _ = zk.get("/zookeeper/rejection")
    print(reason.decode())
zk.stop()
zk.close()
