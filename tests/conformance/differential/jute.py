"""The protocol's numbers, and jute: ZooKeeper's encoding of requests and replies."""

import base64
import hashlib
import struct


FORMAT = 1  # of recorded files
MAXBUF = 0xFFFFF  # jute.maxbuffer's default
SETTLE = (-1, -2, -4, -5, -6, -112, -115, -118, -124)
REPLY_WAIT = 5.0  # how long a reply may take before the step counts as unanswered
IDLE = 0.35  # how long to listen where silence is a legal outcome

OPS = dict(
    create=1,
    delete=2,
    exists=3,
    getData=4,
    setData=5,
    getACL=6,
    setACL=7,
    getChildren=8,
    sync=9,
    ping=11,
    getChildren2=12,
    check=13,
    multi=14,
    create2=15,
    reconfig=16,
    checkWatches=17,
    removeWatches=18,
    createContainer=19,
    deleteContainer=20,
    createTTL=21,
    multiRead=22,
    auth=100,
    setWatches=101,
    sasl=102,
    getEphemerals=103,
    getAllChildrenNumber=104,
    setWatches2=105,
    addWatch=106,
    whoAmI=107,
    closeSession=-11,
)
XIDS = dict(ping=-2, auth=-4, setWatches=-8, setWatches2=-8)
WRITES = {
    "create",
    "create2",
    "createContainer",
    "createTTL",
    "delete",
    "setData",
    "setACL",
    "multi",
    "closeSession",
    "reconfig",
    "deleteContainer",
}
EVENTS = {
    -1: "None",
    1: "Created",
    2: "Deleted",
    3: "DataChanged",
    4: "ChildrenChanged",
    5: "DataWatchRemoved",
    6: "ChildWatchRemoved",
    7: "PersistentWatchRemoved",
}
ERRS = {
    0: "OK",
    -1: "SYSTEMERROR",
    -2: "RUNTIMEINCONSISTENCY",
    -4: "CONNECTIONLOSS",
    -5: "MARSHALLINGERROR",
    -6: "UNIMPLEMENTED",
    -8: "BADARGUMENTS",
    -101: "NONODE",
    -102: "NOAUTH",
    -103: "BADVERSION",
    -108: "NOCHILDRENFOREPHEMERALS",
    -110: "NODEEXISTS",
    -111: "NOTEMPTY",
    -112: "SESSIONEXPIRED",
    -114: "INVALIDACL",
    -115: "AUTHFAILED",
    -118: "SESSIONMOVED",
    -121: "NOWATCHER",
    -123: "RECONFIGDISABLED",
    -125: "QUOTAEXCEEDED",
}


def digest(user, pw):
    return user + ":" + base64.b64encode(hashlib.sha1(f"{user}:{pw}".encode()).digest()).decode()


ALL = 31
OPEN = [[ALL, "world", "anyone"]]
USERS = {"alice": "a1", "bob": "b2", "carol": "c3"}


class W:
    """Jute writer. A string, buffer or vector may be a dict {"len": n, "raw": bytes} / {"count": n, "items": [...]}: written as told, however wrong."""

    def __init__(self):
        self.b = bytearray()

    def i32(self, v):
        self.b += struct.pack(">I", v & 0xFFFFFFFF)
        return self

    def i64(self, v):
        self.b += struct.pack(">Q", v & 0xFFFFFFFFFFFFFFFF)
        return self

    def bool(self, v):
        self.b.append(v if isinstance(v, int) and not isinstance(v, bool) else (1 if v else 0))
        return self

    def buf(self, v):
        if v is None:
            return self.i32(-1)
        if isinstance(v, dict):
            self.i32(v["len"])
            self.b += v.get("raw", b"")
            return self
        if isinstance(v, str):
            v = v.encode("utf-8", "surrogatepass")
        self.i32(len(v))
        self.b += v
        return self

    s = buf

    def vec(self, v, fn):
        if v is None:
            return self.i32(-1)
        n, items = (v["count"], v.get("items", [])) if isinstance(v, dict) else (len(v), v)
        self.i32(n)
        for it in items:
            fn(it)
        return self

    def acl(self, a):
        self.i32(a[0])
        self.s(a[1])
        self.s(a[2])


class Short(Exception):
    pass


class R:
    def __init__(self, b):
        self.b, self.i = b, 0

    def take(self, n):
        if n < 0 or self.i + n > len(self.b):
            raise Short(f"wants {n} at {self.i} of {len(self.b)}")
        v = self.b[self.i : self.i + n]
        self.i += n
        return v

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def bool(self):
        return self.take(1)[0]

    def buf(self):
        n = self.i32()
        return None if n == -1 else self.take(n)

    def s(self):
        v = self.buf()
        return None if v is None else v.decode("utf-8", "backslashreplace")

    def vec(self, fn):
        n = self.i32()
        if n == -1:
            return None
        if n < 0 or n > len(self.b):
            raise Short(f"vector of {n}")
        return [fn() for _ in range(n)]

    def rest(self):
        v = self.b[self.i :]
        self.i = len(self.b)
        return v
