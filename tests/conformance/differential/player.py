"""Plays one script against one server and returns the transcript.

A script is a list of steps (dicts). A transcript says what the server did at each step. In a transcript, symbols replace
everything that may differ between two correct servers: the folder a script works in, session ids, the zxids' starting point,
wall clocks, and the order of lists that the protocol leaves open. So transcripts of two servers can be compared, and one of
them can be stored.
"""

import hashlib
import json
import re
import select
import socket
import struct
import time

from jute import IDLE, OPEN, OPS, R, REPLY_WAIT, SETTLE, Short, USERS, W, XIDS


class Gone(Exception):
    pass  # the server no longer accepts sessions


class Conn:
    def __init__(self, addr):
        self.sock = socket.create_connection(addr, 5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.rb = bytearray()
        self.dead = None

    def send(self, data, until=None):
        """False if the connection broke on the way. Reads while it writes, so that a peer that answers early cannot deadlock us."""
        view, end = memoryview(data), time.monotonic() + 20
        while view:
            if self.sock is None:
                return False
            try:
                r, w, _ = select.select([self.sock], [self.sock], [], 1)
            except (OSError, ValueError):
                return False
            if w:
                try:
                    view = view[self.sock.send(view[: 1 << 16]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    self.pull()
                    return False
            if r and not self.pull():
                return False
            if time.monotonic() > end:
                return False
        return True

    def pull(self):
        try:
            d = self.sock.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            d = b""
        if not d:
            return False
        self.rb += d
        return True

    def more(self, deadline):
        """Waits for bytes: True, False at the end of the stream, None at the deadline."""
        if self.sock is None:
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            left = 0
        r, _, _ = select.select([self.sock], [], [], left)
        if not r:
            return None
        if self.pull():
            return True
        self.close()
        return False

    def frame(self, wait):
        """The next frame's payload; False at the end of the stream; None at the deadline."""
        deadline = time.monotonic() + wait
        while True:
            if len(self.rb) >= 4:
                n = struct.unpack(">i", self.rb[:4])[0]
                if n < 0 or n > 64 << 20:  # nonsense (or a four letter word's text): handed over whole, then the end
                    while self.more(min(deadline, time.monotonic() + IDLE)):
                        pass
                    p = bytes(self.rb)
                    self.rb.clear()
                    self.close()
                    return p
                if len(self.rb) >= 4 + n:
                    p = bytes(self.rb[4 : 4 + n])
                    del self.rb[: 4 + n]
                    return p
            m = self.more(deadline)
            if not m:
                return m

    def close(self):
        if self.sock is not None:
            try:
                self.sock.close()
            except OSError:
                pass
            self.sock = None

    @property
    def alive(self):
        return self.sock is not None


class Sess:
    def __init__(self, name):
        self.name, self.conn, self.sid, self.passwd, self.xid, self.hz, self.quiet = (
            name,
            None,
            0,
            b"\0" * 16,
            0,
            0,
            False,
        )


class Ctx:
    """What one script's run on one server needs to turn answers into symbols."""

    def __init__(self, base, root):
        self.base, self.root, self.z0, self.rootstat, self.rootkids, self.rootall = base, root, 0, None, [], 0

    sess = sids = None


class Runner:
    def __init__(self, label, addr, runid, superauth=None):
        self.label, self.addr, self.superauth, self.runid = label, addr, superauth, runid
        self.top = "/dt" + runid
        self.ctl = None
        self.requests = 0
        self.known_super = superauth

    # ---- control session: makes and removes each script's base, reads the root's baseline
    def ctl_call(self, op, **f):
        for attempt in range(3):
            try:
                s = self.ctl_open()
                r = self.ask(s, dict(op=op, **f))
                if r is not None:
                    return r
            except OSError:
                pass
            self.ctl = None
        raise Gone(f"{self.label} {self.addr[0]}:{self.addr[1]} does not answer the control session's {op}")

    def ask(self, s, st):
        """(err, zxid, body reader) of a plain request; events are dropped."""
        s.xid += 1
        xid = XIDS.get(st["op"], s.xid)
        p = W().i32(xid).i32(OPS[st["op"]]).b + self.body(st, None)
        if not s.conn.send(struct.pack(">i", len(p)) + p):
            return None
        while True:
            f = s.conn.frame(10)
            if not f:
                return None
            r = R(f)
            x, z, e = r.i32(), r.i64(), r.i32()
            if x != -1:
                return e, z, r

    def ctl_open(self):
        if self.ctl and self.ctl.conn.alive:
            return self.ctl
        end = time.monotonic() + 15
        while True:
            try:
                s = Sess("ctl")
                s.conn = Conn(self.addr)
                s.conn.send(self.hello(0, 0, 40000, 0, b"\0" * 16, False))
                f = s.conn.frame(10)
                if f:
                    r = R(f)
                    r.i32()
                    r.i32()
                    s.sid = r.i64()
                    s.passwd = r.buf()
                    break
            except OSError:
                pass
            if time.monotonic() > end:
                raise Gone(f"{self.label} {self.addr[0]}:{self.addr[1]} gives no session")
            time.sleep(0.3)
        self.ctl = s
        for u, p in USERS.items():
            self.ask(s, dict(op="auth", scheme="digest", auth=f"{u}:{p}".encode()))
        if self.superauth:
            self.ask(s, dict(op="auth", scheme="digest", auth=self.superauth.encode()))
        self.ask(s, dict(op="create", path=self.top, data=b"", acl=OPEN, flags=0))
        return s

    def tree(self, path):
        e, _, r = self.ctl_call("getChildren", path=path)
        if e:
            return []
        out = []
        for k in r.vec(r.s) or []:
            out += self.tree(path.rstrip("/") + "/" + k)
        return out + [path]

    def wipe(self, path):
        for p in self.tree(path):
            self.ctl_call("delete", path=p, version=-1)

    def bye(self):
        if self.ctl and self.ctl.conn.alive:
            try:
                self.wipe(self.top)
                self.wipe("/zookeeper/quota" + self.top)
                self.ask(self.ctl, dict(op="closeSession"))
            except (Gone, OSError):
                pass

    # ---- encoding
    @staticmethod
    def hello(pv, last, timeout, sid, pw, ro, pad=b""):
        w = W().i32(pv).i64(last).i32(timeout).i64(sid).buf(pw)
        if ro is not None:
            w.bool(ro)
        p = bytes(w.b) + pad
        return struct.pack(">i", len(p)) + p

    def path(self, p, c):
        if c is None or not isinstance(p, str):
            return p
        if p.startswith("%"):  # %n: the n-th path a server has named so far in this script
            m = re.match(r"%(\d+)(.*)", p, re.S)
            return (c.made[int(m[1]) % len(c.made)] if c.made else c.base) + m[2]
        return p.replace("$TOP", self.top).replace("$R", c.root).replace("$", c.base)

    def zx(self, v, c):
        if not isinstance(v, dict):
            return v
        z = c.marks.get(v["mark"], c.z0) if v.get("mark") else c.hz
        return z + v.get("plus", 0)

    def body(self, st, c):
        op, w = st.get("op"), W()
        P = lambda k="path": w.s(self.path(st.get(k), c))
        L = lambda k: w.vec(st.get(k, []), lambda p: w.s(self.path(p, c)))
        if "body" in st:
            w.b += st["body"]
        elif op in ("create", "create2", "createContainer", "createTTL"):
            P()
            w.buf(st.get("data"))
            w.vec(st.get("acl", OPEN), w.acl)
            w.i32(st.get("flags", 0))
            if op == "createTTL":
                w.i64(st.get("ttl", 0))
        elif op in ("delete", "check"):
            P()
            w.i32(st.get("version", -1))
        elif op in ("exists", "getData", "getChildren", "getChildren2"):
            P()
            w.bool(st.get("watch", False))
        elif op == "setData":
            P()
            w.buf(st.get("data"))
            w.i32(st.get("version", -1))
        elif op == "setACL":
            P()
            w.vec(st.get("acl"), w.acl)
            w.i32(st.get("version", -1))
        elif op in ("getACL", "sync", "deleteContainer", "getEphemerals", "getAllChildrenNumber"):
            P()
        elif op in ("checkWatches", "removeWatches"):
            P()
            w.i32(st.get("watcher", 3))
        elif op == "addWatch":
            P()
            w.i32(st.get("mode", 0))
        elif op == "auth":
            w.i32(st.get("atype", 0))
            w.s(st.get("scheme"))
            w.buf(st.get("auth"))
        elif op == "sasl":
            w.buf(st.get("token", b""))
        elif op in ("setWatches", "setWatches2"):
            w.i64(self.zx(st.get("rel", 0), c))
            for k in ("data", "exist", "child") + (("pers", "rec") if op == "setWatches2" else ()):
                L(k)
        elif op == "reconfig":
            w.s(st.get("joining"))
            w.s(st.get("leaving"))
            w.s(st.get("members"))
            w.i64(st.get("cfg", -1))
        elif op in ("multi", "multiRead"):
            for o in st.get("ops", []):
                w.i32(o.get("mtype", OPS.get(o["op"], 0))).bool(o.get("done", False)).i32(o.get("merr", -1))
                w.b += self.body(o, c)
            if not st.get("nofoot"):
                w.i32(st.get("ftype", -1)).bool(st.get("fdone", True)).i32(-1)
        return bytes(w.b)

    def payload(self, st, s, c):
        """One request's payload (header + body), with the step's deformations applied."""
        op = st.get("op")
        s.xid += 1
        xid = st.get("xid", XIDS.get(op, s.xid))
        # "type" replaces the operation's number. The watcher type of checkWatches and removeWatches is "watcher".
        head = W().i32(xid).i32(st.get("type", OPS.get(op, 0))).b
        if "fill" in st:  # data such that the whole payload is this long
            probe = len(head) + len(self.body(dict(st, data=b""), c))
            st = dict(st, data=b"F" * (st["fill"] - probe))
        b = self.body(st, c)
        if "flip" in st:  # [[offset, byte], ...]: fuzz (offsets from the body's start, modulo its length)
            b = bytearray(b)
            for o, v in st["flip"]:
                if b:
                    b[o % len(b)] = v
            b = bytes(b)
        if "keep" in st:
            b = b[: st["keep"]]
        if "cut" in st:
            b = b[: max(0, len(b) - st["cut"])]
        return xid, bytes(head) + b + st.get("pad", b"")

    # ---- symbols
    def nz(self, z, c):
        if z in (0, -1):
            return z
        if z < c.z0:
            return "pre" if z > 0 else "negative"
        return {"z": z - c.z0}

    def npath(self, p, c):
        if p is None:
            return None
        return p.replace(c.base, "$").replace(c.root, "$R").replace(self.top, "$TOP").replace(c.base[1:], "$NOSLASH")

    def nsid(self, sid, c):
        return 0 if sid == 0 else c.sids.get(sid, "unknown session" if sid > 0 or sid < -(1 << 56) * 120 else sid)

    @staticmethod
    def nbuf(b):
        if b is None:
            return None
        return b.decode("latin-1") if len(b) <= 200 else f"<{len(b)} bytes sha1 {hashlib.sha1(b).hexdigest()[:12]}>"

    def stat(self, r, path, c):
        cz, mz, ct, mt = r.i64(), r.i64(), r.i64(), r.i64()
        v, cv, av, own, dl, nc, pz = r.i32(), r.i32(), r.i32(), r.i64(), r.i32(), r.i32(), r.i64()
        now = time.time() * 1000
        inv = c.inv
        if ct > mt:
            inv("ctime > mtime")
        if cz > mz:
            inv("czxid > mzxid")
        if cz > pz:
            inv("czxid > pzxid")
        if cz == mz and ct != mt:
            inv("czxid = mzxid, but ctime != mtime")
        for z, t in ((cz, ct), (mz, mt)):
            if z <= 0:
                continue
            if c.times.setdefault(z, t) != t:
                inv("two different times for one zxid")
            if z > c.z0 and abs(now - t) > 300000:
                inv("a time more than 5 minutes off")
        if dl < 0 or nc < 0:
            inv("negative dataLength or numChildren")
        c.maxz = max(c.maxz, cz, mz, pz)
        d = dict(
            czxid=self.nz(cz, c),
            mzxid=self.nz(mz, c),
            version=v,
            cversion=cv,
            aversion=av,
            owner=self.nsid(own, c),
            dataLength=dl,
            numChildren=nc,
            pzxid=self.nz(pz, c),
        )
        if path == "/zookeeper/quota":
            del d["cversion"], d["pzxid"]
        if c.fuzzed and cz == 0:
            d = dict(version=v, owner=d["owner"])  # the mutated path may be the root's
        elif path in ("/", "") and c.rootstat:  # the root has a history of its own on each server
            for k in ("version", "cversion", "aversion", "numChildren", "dataLength"):
                d[k] -= c.rootstat[k]
        return d

    def kids(self, v, path, c):
        if v is None:
            return None
        v = [self.npath(k, c) if k.startswith("/") else k for k in v]
        if path in ("/", "") or (c.fuzzed and "zookeeper" in v):
            v = ["+" + self.npath("/" + k, c) for k in v if k not in c.rootkids] + [
                "-" + k for k in c.rootkids if k not in v
            ]
        elif path == self.top:
            v = ["(siblings)"]
        return sorted(v)

    def acls(self, r, st):
        v = r.vec(lambda: [r.i32(), r.s(), r.s()])
        return v if v is None or st.get("ordered") else sorted(v)

    def decode(self, op, st, r, c):
        """The body of a successful reply, as symbols."""
        path = self.path(st.get("path"), c) if "path" in st else None
        d = {}
        c.fuzzed = c.fuzzed or "flip" in st or "keep" in st or "cut" in st
        if op in ("create", "create2", "createContainer", "createTTL"):
            p = r.s()
            d["path"] = self.npath(p, c)
            if p and not p.startswith(self.top + "/") and (c.fuzzed or p.count("/") == 1):
                d["path"] = re.sub(r"-?\d{10}$", "#", self.npath(p, c))
            if p:
                c.made.append(p)
            if op != "create":
                d["stat"] = self.stat(r, p, c)
        elif op in ("exists", "setData", "setACL"):
            d["stat"] = self.stat(r, path, c)
        elif op in ("getData", "reconfig"):
            b = r.buf()
            d["data"] = self.nbuf(b)
            d["stat"] = s = self.stat(r, path, c)
            if s.get("dataLength") != len(b or b"") and path not in ("/", "") and not c.fuzzed:
                c.inv("dataLength is not the data's length")
        elif op == "getACL":
            d["acl"] = self.acls(r, st)
            d["stat"] = self.stat(r, path, c)
        elif op in ("getChildren", "getChildren2"):
            k = r.vec(r.s)
            d["children"] = self.kids(k, path, c)
            if op == "getChildren2":
                d["stat"] = s = self.stat(r, path, c)
                if path not in ("/", "") and not c.fuzzed and s["numChildren"] != len(k or []):
                    c.inv("numChildren is not the number of children")
        elif op == "sync":
            d["path"] = self.npath(r.s(), c)
        elif op in ("multi", "multiRead"):
            ops, res, i = st.get("ops", []), [], 0
            while True:
                t, done, err = r.i32(), r.bool(), r.i32()
                if done:
                    d["footer"] = [t, done, err]
                    break
                o = ops[i] if i < len(ops) else {}
                i += 1
                x = {"type": t, "err": err}
                if t == -1:
                    x["body"] = r.i32()
                elif t in (1, 15):
                    x |= self.decode("create" if t == 1 else "create2", o, r, c)
                elif t == 5:
                    x["stat"] = self.stat(r, self.path(o.get("path"), c), c)
                elif t == 4:
                    x |= self.decode("getData", o, r, c)
                elif t == 8:
                    x |= self.decode("getChildren", o, r, c)
                elif t not in (2, 13):
                    x["unknown"] = True
                    res.append(x)
                    break
                res.append(x)
            d["results"] = res
        elif op == "getEphemerals":
            v = r.vec(r.s)
            d["paths"] = None if v is None else sorted(self.npath(p, c) for p in v)
        elif op == "getAllChildrenNumber":
            n = r.i32()
            d["n"] = "fuzzed" if c.fuzzed else n - c.rootall if path in ("/", "") else "many" if path == self.top else n
        elif op == "addWatch":
            d["err"] = r.i32()
        elif op == "whoAmI":
            v = r.vec(lambda: [r.s(), r.s()])
            d["ids"] = None if v is None else sorted(v)
        elif op == "sasl":
            d["token"] = self.nbuf(r.buf())
        return d

    # ---- reading
    def read(self, s, c, st, wait, xid=None):
        """Reads frames until one that is not an event. -> list of items, the last being the reply, 'closed' or 'silent'."""
        items = []
        while True:
            f = s.conn.frame(wait)
            if f is None:
                return items + [{"k": "silent"}]
            if f is False:
                return items + [{"k": "closed"}]
            try:
                it = self.item(s, c, st, f, xid)
            except Short as e:
                it = {"k": "undecodable", "why": str(e).split(" at ")[0], "length": len(f)}
            items.append(it)
            if it["k"] != "event":
                return items

    def read_burst(self, s, c, want):
        """The replies of pipelined requests, in the requests' order. An auth's reply alone may overtake: ZooKeeper answers it before the queue."""
        slots, ev, head, last = [None] * len(want), [], 0, s.xid
        while True:
            while head < len(want) and slots[head] is not None:
                head += 1
            if head == len(want):
                break
            f = s.conn.frame(REPLY_WAIT)
            if not f:
                ev.append({"k": "silent" if f is None else "closed"})
                break
            x = struct.unpack(">i", f[:4])[0] if len(f) >= 4 else 0
            at = head
            if x == XIDS["auth"] and want[head][0] != x:
                at = next((i for i in range(head, len(want)) if slots[i] is None and want[i][0] == x), head)
            wx, q = want[at]
            s.xid = wx if wx > 0 else s.xid
            try:
                it = self.item(s, c, q, f, wx)
            except Short as e:
                it = {"k": "undecodable", "why": str(e).split(" at ")[0], "length": len(f)}
            if it["k"] == "event":
                ev.append(it)
            elif at == head:
                slots[at] = ev + [it]
                ev = []
            else:
                slots[at] = [it]
        s.xid = last
        return [it for sl in slots if sl for it in sl] + ev

    def item(self, s, c, st, f, xid):
        op = st.get("op")
        if st.get("rawreply"):
            return {"k": "rawreply", "length": len(f)}
        r = R(f)
        x, z, e = r.i32(), r.i64(), r.i32()
        if x == -1 and xid != -1:
            it = {"k": "event", "zxid": self.nz(z, c), "type": r.i32(), "state": r.i32(), "path": self.npath(r.s(), c)}
            if e:
                it["err"] = e
        else:
            it = {"k": "reply", "err": e, "zxid": self.nz(z, c)}
            if x != xid:
                it["xid"] = f"asked {'n' if xid == s.xid else xid}, answered {x}"
            if z > 0:
                if z < s.hz:
                    c.inv("a reply's zxid goes backwards")
                s.hz = max(s.hz, z)
                c.hz = max(c.hz, z)
            c.maxz = 0
            c.fuzzed = False
            if e == 0 and op is not None:
                it["body"] = self.decode(op, st, r, c)
            if z > 0 and c.maxz > z:
                c.inv("a Stat is newer than its reply's zxid")
        if r.i < len(r.b):
            it["trailing"] = len(r.b) - r.i
        return it

    def fence(self, c, obs):
        """A ping through every live connection: what a step caused has arrived once it is answered."""
        live = [s for s in c.sess.values() if s.conn and s.conn.alive and not s.quiet]
        for s in live:
            s.conn.send(struct.pack(">iii", 8, -2, 11))
        after, fz = {}, []
        for s in live:
            its = []
            while True:
                got = self.read(s, c, {"op": "ping"}, REPLY_WAIT, -2)
                its += got[:-1]
                last = got[-1]
                if last["k"] == "reply" and "xid" not in last and last["err"] == 0 and "trailing" not in last:
                    fz.append(last["zxid"])
                    break
                if last["k"] != "closed":
                    its.append(last)
                if last["k"] != "reply":
                    s.conn.close()
                    break
            if its:
                after[s.name] = its
        if after:
            obs["after"] = after
        obs["fz"] = fz

    # ---- steps
    def connect(self, st, c):
        name = st["s"]
        old = c.sess.get(name)
        s = Sess(name)
        ref = lambda v: c.sess.get(v[1:]) if v[1:] != "self" else old
        sid, pw = st.get("sid", 0), st.get("passwd", b"\0" * 16)
        if isinstance(sid, str):
            o = ref(sid)
            sid = o.sid if o else 0x1234
        if isinstance(pw, str):
            o = ref(pw)
            pw = o.passwd if o else b"\0" * 16
        if "pwflip" in st and pw:
            pw = bytes([pw[0] ^ 1]) + pw[1:]
        if "pwkeep" in st:
            pw = (pw or b"")[: st["pwkeep"]]
        if old and old.conn and old.conn.alive and not st.get("keepold"):
            old.conn.close()
        s.conn = Conn(self.addr)
        h = self.hello(
            st.get("pv", 0),
            self.zx(st.get("last", 0), c),
            st.get("timeout", 30000),
            sid,
            pw,
            st.get("ro", False),
            st.get("pad", b""),
        )
        if "cut" in st:
            h = struct.pack(">i", len(h) - 4 - st["cut"]) + h[4 : len(h) - st["cut"]]
        s.hz = 0
        if st.get("split"):
            [s.conn.send(h[i : i + st["split"]]) for i in range(0, len(h), st["split"])]
        else:
            s.conn.send(h)
        f = s.conn.frame(st.get("wait", REPLY_WAIT))
        c.sess[name] = s
        if not f:
            s.sid, s.passwd = (old.sid, old.passwd) if old else (0, b"\0" * 16)
            s.conn.close() if f is None else None
            return [{"k": "closed" if f is False else "silent"}]
        r = R(f)
        try:
            pv, to, nsid, npw = r.i32(), r.i32(), r.i64(), r.buf()
        except Short:
            return [{"k": "undecodable", "length": len(f)}]
        it = {
            "k": "session",
            "protocol": pv,
            "timeout": to,
            "id": "0" if nsid == 0 else "as asked" if nsid == sid else "known" if nsid in c.sids else "new",
            "passwd": None if npw is None else f"{len(npw)} bytes" + (" of zero" if not any(npw) else ""),
            "readOnly": None,
        }
        if r.i < len(f):
            it["readOnly"] = r.bool()
        if r.i < len(f):
            it["trailing"] = len(f) - r.i
        if nsid:
            s.sid, s.passwd = nsid, npw
            c.sids.setdefault(nsid, "session " + name)
            c.alive[nsid] = s
        elif old:
            s.sid, s.passwd = old.sid, old.passwd
        items = [it]
        if to == 0 or nsid == 0:
            more = s.conn.frame(1.0)
            if more is False:
                items.append({"k": "closed"})
        return items

    def step(self, st, c, obs):
        op = st["op"]
        if op == "connect":
            obs["items"] = self.connect(st, c)
            return
        if op == "mark":
            c.marks[st["name"]] = c.hz
            return
        if op == "sleep":
            time.sleep(st["secs"])
            return
        if op == "4lw":
            obs["items"] = [self.fourletter(st)]
            return
        if op == "rawconn":
            obs["items"] = [self.rawconn(st, c)]
            return
        s = c.sess.get(st["s"])
        if not s or not s.conn or not s.conn.alive:
            obs["skip"] = True
            return
        if op == "drop":
            s.conn.close()
            return
        if op == "quiet":
            s.quiet = st.get("on", True)
            return
        if op == "await":
            self.wait_for(st, s, c, obs)
            return
        if op == "burst":
            data, want = b"", []
            for q in st["reqs"]:
                x, p = self.payload(q, s, c)
                data += struct.pack(">i", len(p)) + p
                want.append((x, q))
            self.requests += len(want)
            if st.get("split"):
                for i in range(0, len(data), st["split"]):
                    s.conn.send(data[i : i + st["split"]])
                    time.sleep(0.002)
            else:
                s.conn.send(data)
            items = self.read_burst(s, c, want)
            obs["items"] = items
        elif op in ("frame", "sendraw"):
            data = st["bytes"] if op == "sendraw" else struct.pack(">i", len(st["bytes"])) + st["bytes"]
            s.conn.send(data)
            self.requests += 1
            obs["items"] = self.read(
                s,
                c,
                {"op": None},
                st.get("wait", IDLE),
                struct.unpack(">i", st["bytes"][:4])[0] if op == "frame" and len(st["bytes"]) >= 4 else None,
            )
        else:
            x, p = self.payload(st, s, c)
            p = struct.pack(">i", len(p)) + p
            self.requests += 1
            if st.get("split"):
                for i in range(0, len(p), st["split"]):
                    s.conn.send(p[i : i + st["split"]])
                    time.sleep(0.001)
            else:
                s.conn.send(p)
            obs["items"] = self.read(s, c, st, st.get("wait", REPLY_WAIT), x)
            if op == "closeSession" and obs["items"][-1].get("err") == 0:
                c.alive.pop(s.sid, None)
        last = obs["items"][-1]
        if last.get("err") in SETTLE and s.conn.alive and not s.conn.rb and not st.get("nofence"):
            s.conn.more(time.monotonic() + 0.05)  # some of these close a moment after the reply
        if last["k"] in ("silent", "undecodable") and "wait" not in st:
            s.conn.close()
            obs["gaveup"] = True

    def wait_for(self, st, s, c, obs):
        t0, got = time.monotonic(), []
        while len(got) < st.get("n", 1) and time.monotonic() - t0 < st["max"]:
            o = {}
            self.fence(c, o)
            its = o.get("after", {})
            got += its.pop(s.name, [])
            for k, v in its.items():
                obs.setdefault("after", {}).setdefault(k, []).extend(v)
            if len(got) < st.get("n", 1):
                time.sleep(0.2)
        dt = time.monotonic() - t0
        obs["items"] = got
        obs["when"] = (
            "too early" if dt < st.get("min", 0) else "in time" if len(got) >= st.get("n", 1) else "not in time"
        )
        if st.get("expires") in c.sess:
            c.alive.pop(c.sess[st["expires"]].sid, None)

    def fourletter(self, st):
        try:
            k = Conn(self.addr)
            k.send(st["word"].encode() + st.get("extra", b""))
            end = time.monotonic() + 5
            while m := k.more(end):
                pass
            closed = m is False
            k.close()
            t = k.rb.decode("utf-8", "replace")
        except OSError as e:
            return {"k": "text", "error": type(e).__name__}
        return {"k": "text", "closed": closed, "ends with newline": t.endswith("\n"), "lines": shape(st["word"], t)}

    def rawconn(self, st, c):
        k = Conn(self.addr)
        it, early = {"k": "raw", "frames": []}, []
        for n, b in enumerate(st["chunks"]):
            k.send(b)
            time.sleep(st.get("pause", 0.01))
            # a whole hello first: its answer is awaited, or the session would be made but its id unknown, and expire in the middle of another script
            if n == 0 and not st.get("nohello") and len(b) == 49 and len(st["chunks"]) > 1:
                early.append(k.frame(REPLY_WAIT))
        while True:
            f = early.pop() if early else k.frame(st.get("wait", IDLE))
            if not f:
                it["end"] = "closed" if f is False else "open"
                break
            n = len(it["frames"])
            it["frames"].append(
                [len(f)] + ([R(f[:4]).i32(), R(f[12:16]).i32()] if len(f) >= 16 and (n or st.get("nohello")) else [])
            )
            if not n and not st.get("nohello") and len(f) in (36, 37):
                r = R(f)
                r.i32()
                r.i32()
                sid = r.i64()
                if sid:
                    s = Sess("raw")
                    s.sid, s.passwd = sid, r.buf()
                    c.alive[sid] = s
        if k.rb and not k.alive:
            it["odd"] = len(k.rb)
        k.close()
        return it

    # ---- a whole script
    def run(self, script, num):
        c = Ctx(f"{self.top}/{num:05d}", f"{self.top}x{num:05d}")
        c.sess, c.sids, c.alive, c.made, c.marks, c.times, c.maxz, c.hz, c.fuzzed, invs = (
            {},
            {},
            {},
            [],
            {},
            {},
            0,
            0,
            False,
            [],
        )
        c.inv = lambda what: invs.append([c.now, what])
        c.now = -1
        self.ctl_call("create", path=c.base, data=b"", acl=OPEN, flags=0)
        c.rootkids = (lambda r: r[2].vec(r[2].s))(self.ctl_call("getChildren", path="/"))
        c.rootall = self.ctl_call("getAllChildrenNumber", path="/")
        c.rootall = c.rootall[2].i32() if c.rootall[0] == 0 else 0
        e, c.z0, r = self.ctl_call("exists", path="/")
        rs = self.stat(r, "/", c)
        c.rootstat = rs
        c.hz = c.z0
        out, up = [], set()
        for i, st in enumerate(script):
            c.now, obs = i, {}
            try:
                self.step(st, c, obs)
            except (ConnectionError, TimeoutError, OSError) as ex:
                obs["items"] = [{"k": "refused", "why": type(ex).__name__}]
            if not st.get("nofence") and st["op"] not in ("mark", "drop", "quiet"):
                self.fence(c, obs)
            now = {n for n, s in c.sess.items() if s.conn and s.conn.alive}
            if up - now and st["op"] != "drop":
                obs["lost"] = sorted(up - now)
            up = now
            out.append(obs)
        for s in list(c.sess.values()):  # no session may outlive its script: it would expire in the middle of another
            if s.sid in c.alive and s.conn and s.conn.alive and s.conn.send(struct.pack(">iii", 8, 0x7FFFFFF0, -11)):
                while f := s.conn.frame(2):
                    if f[:4] == b"\x7f\xff\xff\xf0":
                        c.alive.pop(s.sid, None)
                        break
        for sid, s in list(c.alive.items()):
            try:
                k = Conn(self.addr)
                k.send(self.hello(0, 0, 30000, sid, s.passwd, False))
                f = k.frame(3)
                if f and R(f[8:16]).i64() == sid:
                    k.send(struct.pack(">iii", 8, 1, -11))
                    k.frame(3)
                k.close()
            except OSError:
                pass
        for s in c.sess.values():
            if s.conn:
                s.conn.close()
        self.wipe(c.base)
        for p in c.made:  # what went elsewhere: below the root, quota nodes, mutated paths
            if not p.startswith(c.base + "/") and p.count("/") == 1:
                self.wipe(p)
        if any("/zookeeper/quota$" in json.dumps(st, default=enc) for st in script):
            self.wipe("/zookeeper/quota" + self.top)
        return {"obs": out, "inv": invs}


def shape(word, text):
    """The form of a four letter word's output: keys and the kinds of their values, repeated lines once."""
    out = []
    for l in text.splitlines():
        l = re.sub(r"0x[0-9a-fA-F]+", "0xN", l)
        if word == "mntr":
            l = re.sub(r"^(zk_[a-z]+_)\S+(_(read|write)_per_namespace)", r"\1NS\2", l)
        if word == "hash":
            l = re.sub(r"^[0-9a-f]+: -?[0-9a-f]+$", "HEX: N", l)
        m = re.match(r"^([A-Za-z_][\w .\-/]*?)(\t|: ?|=)(.*)$", l)
        if word in ("ruok", "isro", "gtmk", "stmk", "srst", "crst"):
            pass
        elif m and not l.startswith(" "):
            v = m[3]
            l = (
                m[1]
                + m[2]
                + (
                    ""
                    if v == ""
                    else "0xN"
                    if v == "0xN"
                    else "N"
                    if re.fullmatch(r"-?[\d.E]+", v)
                    else "N/N/N"
                    if re.fullmatch(r"[\d./]+", v)
                    else "text"
                )
            )
        else:
            l = re.sub(
                r"/[\w./$-]*[\w$]",
                "/PATH",
                re.sub(
                    r"\d+(\.\d+)?",
                    "N",
                    re.sub(
                        r"(lop|sid)=\w+",
                        r"\1=X",
                        re.sub(r"\d+ expire at .*", "N expire at DATE:", re.sub(r"/[\d.]+:\d+", "/IP:PORT", l)),
                    ),
                ),
            )
        if l not in out:
            out.append(l)
    return sorted(out) if word in ("mntr", "envi", "conf", "cons") else out


def enc(o):
    if isinstance(o, (bytes, bytearray)):
        return {"__b": o.hex()}
    raise TypeError(type(o))


def dec(d):
    return bytes.fromhex(d["__b"]) if "__b" in d else d
