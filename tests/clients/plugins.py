"""Uses every bundled plugin with kazoo, a stock client, as the READMEs of the plugins show.

    tests/clients/plugins.py HOST:PORT WASMKEEPER

WASMKEEPER is the program that deploys the plugins. The server must let everybody deploy. Prints a line for each part, and
ends with an error at the first failure.
"""

import base64, hashlib, hmac, json, subprocess, sys, threading, time
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadArgumentsError, BadVersionError, NoAuthError, NodeExistsError, NoNodeError, AuthFailedError,
)
from kazoo.security import make_acl

SERVER, PROGRAM = sys.argv[1], sys.argv[2]
PATIENCE = 30  # seconds that anything may take


def deploy(plugin, *arguments):
    command = [PROGRAM, "plugin", "--server", SERVER, "deploy", "bundled:" + plugin, "--name", plugin, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def remove(plugin):
    subprocess.run([PROGRAM, "plugin", "--server", SERVER, "remove", plugin], check=True, capture_output=True)


def connect(**more):
    zk = KazooClient(SERVER, timeout=10, **more)
    zk.start(PATIENCE)
    return zk


def rejection(zk):
    return zk.get("/zookeeper/rejection")[0].decode().splitlines()[0]


def refused(kind, ask, *arguments, **more):
    try:
        ask(*arguments, **more)
    except kind:
        return
    raise AssertionError(f"not refused: {arguments}")


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not fulfilled within {PATIENCE} s"
        time.sleep(0.02)


# plugins/lock/README.md
def acquire(zk, lock, wait_ms=None):
    options = b"" if wait_ms is None else json.dumps({"wait-ms": wait_ms}).encode()
    node = zk.retry(zk.create, f"{lock}/lock-", options, ephemeral=True, sequence=True)
    while True:
        changed = threading.Event()
        try:
            data, stat = zk.retry(zk.get, node, watch=lambda event: changed.set())
        except NoNodeError:
            return None
        state = json.loads(data)
        if state["state"] == "held":
            assert state["token"] == stat.mzxid
            return node, state["token"]
        assert changed.wait(PATIENCE)


def locks():
    deploy("lock", "--mount", "/locks")
    inside, tokens, failures = [], [], []

    def contend(turns):
        zk = connect()
        try:
            for _ in range(turns):
                node, token = acquire(zk, "/locks/db")
                inside.append(node)
                assert len(inside) == 1, inside
                tokens.append(token)
                inside.remove(node)
                zk.retry(zk.delete, node)
        except Exception as failure:
            failures.append(failure)
        finally:
            zk.stop()

    threads = [threading.Thread(target=contend, args=(10,)) for _ in range(5)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures, failures
    assert len(tokens) == 50 and tokens == sorted(set(tokens))
    a, b = connect(), connect()
    node, _ = acquire(a, "/locks/db")
    assert acquire(a, "/locks/db")[0] == node
    assert acquire(b, "/locks/db", wait_ms=100) is None
    refused(NodeExistsError, acquire, b, "/locks/db", wait_ms=0)
    refused(NoAuthError, b.delete, node)
    # kazoo's own lock recipe contends for the same lock.
    theirs, got = b.Lock("/locks/db", "kazoo", extra_lock_patterns=["lock-"]), []
    waiter = threading.Thread(target=lambda: got.append(theirs.acquire(timeout=PATIENCE)))
    waiter.start()
    until(lambda: len(a.get_children("/locks/db/queue")) == 1)
    assert not got
    a.stop()
    waiter.join()
    assert got == [True] and json.loads(b.get("/locks/db")[0])["holder"] == theirs.node
    assert not connect().Lock("/locks/db").acquire(blocking=False)
    theirs.release()
    b.stop()


# plugins/queue/README.md
def queues():
    deploy("queue", "--mount", "/queue", "--settings", '{"attempts-max":3}')
    producer, done, stop = connect(), {}, threading.Event()
    claims = "/queue/jobs/claims/w-"

    def work(lose):
        zk = connect()
        claim = zk.retry(zk.create, claims, b"", ephemeral=True, sequence=True)
        while not stop.is_set():
            changed = threading.Event()
            data, stat = zk.retry(zk.get, claim, watch=lambda event: changed.set())
            if not data:
                changed.wait(0.1)
                continue
            head, _, payload = data.partition(b"\n")
            item = json.loads(head)["item"]
            if lose and len(done) % 7 == 3:
                # The session ends without an acknowledgement, so another worker gets the item.
                zk.stop()
                return work(lose - 1)
            done.setdefault(item, []).append(payload)
            both = zk.transaction()
            both.delete(claim)
            both.create(claims, b"", ephemeral=True, sequence=True)
            claim = both.commit()[1]
        zk.stop()

    workers = [threading.Thread(target=work, args=(2,)) for _ in range(4)]
    [worker.start() for worker in workers]
    put = {}
    for number in range(60):
        path = producer.create(f"/queue/jobs/items/job?priority={number % 10}-", str(number).encode(), sequence=True, makepath=True)
        put[path.rsplit("/", 1)[1]] = str(number).encode()
    until(lambda: len(done) == 60 and not producer.get_children("/queue/jobs/items"))
    stop.set()
    [worker.join() for worker in workers]
    assert done == {item: [payload] for item, payload in put.items()}
    zk = connect()
    zk.create("/queue/jobs/items/order-7", b"x")
    refused(NodeExistsError, zk.create, "/queue/jobs/items/order-7", b"x")
    claim = zk.create(claims, b"", ephemeral=True, sequence=True)
    _, stat = zk.get(claim)
    zk.set(claim, b"retry", version=stat.version)
    refused(BadVersionError, zk.set, claim, b"retry", version=stat.version)
    assert json.loads(zk.get(claim)[0].partition(b"\n")[0])["attempt"] == 2
    zk.set(claim, b"retry")
    zk.set(claim, b"retry")
    assert zk.get("/queue/jobs/dead/order-7")[0] == b"x" and zk.get(claim)[0] == b""
    zk.stop()
    producer.stop()


# plugins/leader/README.md
def leaders():
    deploy("leader", "--mount", "/election")
    seen = []
    members = [connect() for _ in range(3)]
    nodes = [zk.create("/election/x/m-", f"address {i}".encode(), ephemeral=True, sequence=True) for i, zk in enumerate(members)]
    observer = connect()

    @observer.DataWatch("/election/x")
    def changed(data, stat):
        head, _, address = (data or b"{}").partition(b"\n")
        head = json.loads(head)
        if head:
            assert head["epoch"] == stat.mzxid
            seen.append((head["leader"], head["epoch"], address.decode()))

    name = [node.rsplit("/", 1)[1] for node in nodes]
    until(lambda: seen and seen[-1][0] == name[0])
    members[0].set(nodes[0], b"another address")
    until(lambda: seen[-1][0] == name[1])
    members[1].stop()
    until(lambda: seen[-1][0] == name[2])
    members[2].delete(nodes[2])
    until(lambda: seen[-1][0] == name[0])
    assert [address for _, _, address in seen] == ["address 0", "address 1", "address 2", "another address"]
    epochs = [epoch for _, epoch, _ in seen]
    assert epochs == sorted(set(epochs))
    [zk.stop() for zk in (members[0], members[2], observer)]


def judges():
    zk = connect()
    schema = {"schema": {"type": "object", "required": ["owner"], "properties": {"port": {"minimum": 1}}}}
    deploy("json-schema", "--path", "/services/*", "--settings", json.dumps(schema))
    zk.ensure_path("/services")
    refused(BadArgumentsError, zk.create, "/services/pay", b'{"owner":"pay","port":0}')
    assert rejection(zk).startswith("json-schema: /services/pay: /port: 0 is less than 1"), rejection(zk)
    deploy("guard", "--path", "/small/*", "--settings", '{"max_bytes":4}')
    zk.ensure_path("/small")
    refused(BadArgumentsError, zk.create, "/small/x", b"fiver")
    assert rejection(zk).startswith("guard: /small/x: 5 bytes, at most 4 are allowed"), rejection(zk)
    today = time.gmtime().tm_wday
    closed = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][(today + 3) % 7]
    deploy("time-window", "--path", "/config/**", "--settings", json.dumps({"windows": [closed + " 00:00-24:00"]}))
    zk.ensure_path("/config")
    refused(NoAuthError, zk.create, "/config/x", b"")
    assert "create is allowed only " + closed in rejection(zk), rejection(zk)
    zk.stop()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(secret, **claims):
    parts = [{"alg": "HS256", "kid": "k"}, claims]
    message = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return message + "." + encoded(hmac.new(secret, message.encode(), hashlib.sha256).digest())


def identities():
    secret = bytes(range(32))
    keys = {"keys": [{"kid": "k", "alg": "HS256", "secret": encoded(secret)}], "audience": "test"}
    deploy("jwt", "--scheme", "jwt", "--settings", json.dumps(keys))
    soon = time.time() + 600
    alice = connect(auth_data=[("jwt", token(secret, sub="alice", exp=soon, aud="test", groups=["ops"]))])
    alice.create("/pay", b"1", acl=[make_acl("jwt", "alice", all=True), make_acl("jwt", "group:ops", read=True)])
    bob = connect(auth_data=[("jwt", token(secret, sub="bob", exp=soon, aud="test"))])
    refused(NoAuthError, bob.get, "/pay")
    bob.stop()
    forged = connect()
    refused(AuthFailedError, forged.add_auth, "jwt", token(b"x" * 32, sub="alice", exp=soon, aud="test"))
    forged.stop()
    # `rbac` takes roles from the ids that the token proves.
    root = connect()
    for path, data in [
        ("/rbac/roles/reader", {"allow": [{"path": "/app", "verbs": ["read", "children"]}]}),
        ("/rbac/subjects/jwt:group:ops", ["reader"]),
        ("/app/x", {}),
    ]:
        root.create(path, json.dumps(data).encode(), makepath=True)
    deploy("rbac", "--path", "/app", "--path", "/app/**", "--grant", "read:/rbac")
    assert alice.get("/app/x")[0] == b"{}" and alice.get_children("/app") == ["x"]
    refused(NoAuthError, alice.set, "/app/x", b"1")
    assert rejection(alice).startswith("rbac: /app/x: no role allows set at /app/x"), rejection(alice)
    refused(NoAuthError, root.get, "/app/x")
    root.set("/rbac/roles/reader", json.dumps({"allow": [{"path": "/app", "verbs": ["*"]}]}).encode())
    alice.set("/app/x", b"1")
    remove("rbac")
    assert root.get("/app/x")[0] == b"1"
    [zk.stop() for zk in (alice, root)]


for part in (locks, queues, leaders, judges, identities):
    part()
    print(f"ok kazoo and the bundled plugins: {part.__name__}", flush=True)
