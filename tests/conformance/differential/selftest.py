"""Does the tester find faults? A proxy before server B puts in one fault at a time.

Each fault must be found, and changes that are allowed must not be reported. A and B must be servers of the same kind.
"""

import fnmatch
import re
import socket
import struct
import threading
import time

from jute import MAXBUF, OPS, R, W
from runs import Report, compare


class Proxy:
    """Forwards to a server and lets one fault at a time change the frames that come back."""

    def __init__(self, target, fault):
        self.target, self.fault, self.hits = target, fault, 0
        self.ls = socket.create_server(("127.0.0.1", 0))
        self.port = self.ls.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.ls.close()

    def accept(self):
        while True:
            try:
                c, _ = self.ls.accept()
            except OSError:
                return
            try:
                u = socket.create_connection(self.target)
            except OSError:
                c.close()
                continue
            for x in (c, u):
                x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            st = dict(ops={}, first=True, held=[], raw=False, hello=0, order=[])
            threading.Thread(target=self.up, args=(c, u, st), daemon=True).start()
            threading.Thread(target=self.down, args=(c, u, st), daemon=True).start()

    def up(self, c, u, st):
        buf, n = b"", 0
        try:
            while d := c.recv(65536):
                buf += d
                while len(buf) >= 4 and not st["raw"]:
                    if n == 0 and buf[:4].isalpha():
                        st["raw"] = "4lw"
                        break
                    ln = struct.unpack(">i", buf[:4])[0]
                    if ln < 0 or ln > MAXBUF:
                        st["raw"] = "odd"
                        break
                    if len(buf) < 4 + ln:
                        break
                    f, buf = buf[4 : 4 + ln], buf[4 + ln :]
                    if n == 0:
                        st["hello"] = len(f)
                    elif len(f) >= 8:
                        x, t = struct.unpack(">ii", f[:8])
                        st["ops"].setdefault(x, []).append(t)
                    n += 1
                u.sendall(d)
            u.shutdown(socket.SHUT_WR)
        except OSError:
            for x in (c, u) if not st.get("hold") else ():
                try:
                    x.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def down(self, c, u, st):
        buf = b""
        try:
            while d := u.recv(65536):
                buf += d
                if st["raw"] == "4lw":
                    out = self.fault("4lw", None, buf, st)
                    self.hits += out != [buf]
                    c.sendall(b"".join(out))
                    buf = b""
                    continue
                while len(buf) >= 4:
                    ln = struct.unpack(">i", buf[:4])[0]
                    if ln < 0 or len(buf) < 4 + ln:
                        break
                    f, buf = buf[4 : 4 + ln], buf[4 + ln :]
                    if st["first"]:
                        st["first"] = False
                        kind, op = "hello", None
                    else:
                        x = struct.unpack(">i", f[:4])[0]
                        kind = "event" if x == -1 and x not in st["ops"] else "reply"
                        l = st["ops"].get(x)
                        op = l.pop(0) if kind == "reply" and l else None
                    out = self.fault(kind, op, f, st)
                    self.hits += out != [f]
                    for o_ in out:
                        c.sendall(struct.pack(">i", len(o_)) + o_)
        except OSError:
            pass
        if st.get("hold"):
            time.sleep(st["hold"])
        for x in (c, u):
            try:
                x.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            x.close()


def faults():
    """name -> (must it be found?, groups to run, fault)"""
    F = {}
    err = lambda f: struct.unpack(">i", f[12:16])[0]
    OKF = lambda f: len(f) >= 16 and err(f) == 0
    put = lambda f, at, b: (
        f[:at] + b + f[at + len(b) :] if at >= 0 else f[: len(f) + at] + b + f[len(f) + at + len(b) :]
    )
    i64 = lambda f, at: struct.unpack(">q", f[at : at + 8] if at >= 0 else (f[at : at + 8] if at + 8 else f[at:]))[0]
    i32 = lambda f, at: struct.unpack(">i", f[at : at + 4] if at + 4 else f[at:])[0]

    def on(ops, fn):
        codes = {OPS[o_] for o_ in ops.split()}
        return lambda kind, op, f, st: [fn(f)] if kind == "reply" and op in codes and OKF(f) and len(f) > 16 else [f]

    def errs(frm, to):
        return lambda kind, op, f, st: (
            [put(f, 12, struct.pack(">i", to))] if kind == "reply" and len(f) == 16 and err(f) == frm else [f]
        )

    def ev(fn):
        return lambda kind, op, f, st: fn(f, st) if kind == "event" else [f]

    etype = lambda f: i32(f, 16)
    # the 68 bytes of a Stat at the end: czxid mzxid ctime mtime | version cversion aversion | owner | dataLength numChildren | pzxid
    bump = lambda at, n=1, size=">q": lambda f: put(f, at, struct.pack(size, (i64 if size == ">q" else i32)(f, at) + n))
    statops = "exists setData create2"
    F["err NONODE becomes NODEEXISTS"] = (1, "data", errs(-101, -110))
    F["err BADVERSION becomes OK"] = (1, "data", errs(-103, 0))
    F["err NOTEMPTY becomes BADVERSION"] = (1, "random", errs(-111, -103))
    F["NOWATCHER becomes OK"] = (1, "watch", errs(-121, 0))
    F["UNIMPLEMENTED becomes MARSHALLINGERROR"] = (1, "unknown-op", errs(-6, -5))
    for name, at, size in (
        ("czxid", -68, ">q"),
        ("mzxid", -60, ">q"),
        ("version", -36, ">i"),
        ("cversion", -32, ">i"),
        ("aversion", -28, ">i"),
        ("ephemeralOwner", -24, ">q"),
        ("dataLength", -16, ">i"),
        ("numChildren", -12, ">i"),
        ("pzxid", -8, ">q"),
    ):
        F[f"Stat.{name} + 1"] = (1, "random", on(statops, bump(at, 1, size)))
    F["ephemeralOwner of others' ephemerals is 0"] = (1, "create", on("exists", lambda f: put(f, -24, b"\0" * 8)))
    F["mtime + 1 s (setData only)"] = (1, "random", on("setData", bump(-44, 1000)))
    F["ctime and mtime + 1 s everywhere"] = (
        0,
        "data,create",
        on(
            "exists setData create2 getData getChildren2 getACL setACL createContainer createTTL",
            lambda f: bump(-52, 1000)(bump(-44, 1000)(f)),
        ),
    )
    F["ChildrenChanged is lost"] = (1, "watch", ev(lambda f, st: [] if etype(f) == 4 else [f]))
    F["Created twice"] = (1, "watch", ev(lambda f, st: [f, f] if etype(f) == 1 else [f]))
    F["event with another path"] = (1, "watch", ev(lambda f, st: [f[:-1] + b"?"]))
    F["event zxid -1"] = (1, "watch", ev(lambda f, st: [put(f, 4, b"\xff" * 8)]))
    F["event state 5"] = (1, "watch", ev(lambda f, st: [put(f, 20, struct.pack(">i", 5))]))
    F["Deleted becomes DataChanged"] = (
        1,
        "watch",
        ev(lambda f, st: [put(f, 16, struct.pack(">i", 3))] if etype(f) == 2 else [f]),
    )

    def late(kind, op, f, st):
        if kind == "event":
            st["held"].append(f)
            return []
        held, st["held"] = st["held"], []
        return [f] + held

    F["events after the reply"] = (1, "watch", late)

    def swap(kind, op, f, st):
        if kind == "event":
            st["held"].append(f)
            return []
        held, st["held"] = st["held"], []
        return held[::-1] + [f]

    F["events of one step in reverse order"] = (1, "watch,multi,burst", swap)
    F["data's last byte"] = (
        1,
        "data,random",
        on("getData", lambda f: put(f, 20, bytes([f[20] ^ 1])) if i32(f, 16) > 0 else f),
    )
    F["null data becomes empty"] = (
        1,
        "random,create",
        on("getData", lambda f: f[:16] + b"\0\0\0\0" + f[20:] if i32(f, 16) == -1 else f),
    )

    def kids(fn):
        def g(f):
            r = R(f[16:])
            v = r.vec(r.buf)
            w = W()
            w.vec(fn(v), w.buf)
            return f[:16] + bytes(w.b) + r.rest()

        return g

    F["a child is missing"] = (1, "random", on("getChildren getChildren2", kids(lambda v: v[:-1])))
    F["children in another order"] = (
        0,
        "create,sequence,random",
        on("getChildren getChildren2", kids(lambda v: v[::-1])),
    )
    F["sequence number + 1"] = (
        1,
        "sequence",
        on("create", lambda f: f[:-1] + bytes([f[-1] + 1]) if f[-10:-1].isdigit() else f),
    )
    F["a reply's zxid + 1 on reads"] = (1, "random", on("getData getChildren", bump(4, 1)))
    F["one byte more"] = (1, "random", on("setData", lambda f: f + b"\0"))
    F["a wrong xid"] = (1, "random", on("exists", lambda f: put(f, 0, b"\0\0\1\0")))
    F["auth answered with xid 0"] = (
        1,
        "auth",
        lambda kind, op, f, st: [put(f, 0, b"\0" * 4)] if f[:4] == b"\xff\xff\xff\xfc" else [f],
    )
    F["auth answered with a zxid"] = (
        1,
        "auth",
        lambda kind, op, f, st: [put(f, 4, struct.pack(">q", 5))] if f[:4] == b"\xff\xff\xff\xfc" else [f],
    )
    F["addWatch without a body"] = (1, "watch", lambda kind, op, f, st: [f[:16]] if op == 106 else [f])
    F["setWatches answered with another xid"] = (
        1,
        "setWatches",
        lambda kind, op, f, st: [put(f, 0, b"\0\0\0\x09")] if op in (101, 105) else [f],
    )
    F["multi: -2 becomes 0"] = (
        1,
        "multi",
        on("multi", lambda f: f[:16] + f[16:].replace(struct.pack(">i", -2), b"\0\0\0\0")),
    )
    F["multi: err in the header"] = (
        1,
        "multi",
        lambda kind, op, f, st: (
            [put(f, 12, struct.pack(">i", -101))[:16]]
            if op == 14 and OKF(f) and f[16:20] == b"\xff" * 4 and f[20] == 0
            else [f]
        ),
    )
    F["multi: container and TTL results by their own type"] = (
        1,
        "multi",
        on("multi", lambda f: f.replace(struct.pack(">ib", 15, 0), struct.pack(">ib", 19, 0), 3)),
    )
    F["readOnly byte missing in the connect response"] = (
        1,
        "connect",
        lambda kind, op, f, st: [f[:36]] if kind == "hello" else [f],
    )
    F["readOnly byte always there"] = (
        1,
        "connect",
        lambda kind, op, f, st: [f[:36] + b"\0"] if kind == "hello" else [f],
    )
    F["timeout not clamped (one more ms)"] = (
        1,
        "connect",
        lambda kind, op, f, st: [bump(4, 1, ">i")(f)] if kind == "hello" and i32(f, 4) == 40000 else [f],
    )
    F["password of 16 zeros"] = (
        1,
        "connect",
        lambda kind, op, f, st: [put(f, 20, b"\0" * 16)] if kind == "hello" else [f],
    )

    def keep(kind, op, f, st):
        if kind == "reply" and (op == -11 or err(f) == -6):
            st["hold"] = 8
        return [f]

    F["connection not closed after closeSession or UNIMPLEMENTED"] = (1, "unknown-op", keep)
    F["sync is never answered"] = (1, "data", lambda kind, op, f, st: [] if op == 9 else [f])
    F["getACL: an id's last character"] = (1, "acl", on("getACL", lambda f: put(f, -69, b"x")))
    F["getACL in another order"] = (
        1,
        "acl",
        on(
            "getACL",
            lambda f: (
                lambda r: (
                    lambda v: (
                        f[:16]
                        + bytes(W().vec(v[::-1], lambda x: None).b)
                        + b"".join(struct.pack(">i", p) + W().buf(s_).b + W().buf(i_).b for p, s_, i_ in v[::-1])
                        + r.rest()
                    )
                )(r.vec(lambda: (r.i32(), r.buf(), r.buf())))
            )(R(f[16:])),
        ),
    )
    F["srvr without Zxid"] = (
        1,
        "4lw",
        lambda kind, op, f, st: [re.sub(rb"Zxid: .*\n", b"", f)] if kind == "4lw" else [f],
    )
    F["whoAmI without the ip"] = (1, "system,auth", on("whoAmI", lambda f: f[:16] + b"\0\0\0\0"))
    F["getEphemerals of everybody"] = (
        1,
        "system",
        on("getEphemerals", lambda f: f[:16] + struct.pack(">i", i32(f, 16) + 1) + f[20:] + W().buf("/x").b),
    )
    F["getAllChildrenNumber + 1"] = (1, "system", on("getAllChildrenNumber", bump(16, 1, ">i")))
    F["pings answered with zxid 0"] = (1, "random", lambda kind, op, f, st: [put(f, 4, b"\0" * 8)] if op == 11 else [f])
    F["nothing changed"] = (
        0,
        "connect,create,sequence,data,acl,auth,multi,watch,setWatches,burst,system,framing,unknown-op,random",
        lambda kind, op, f, st: [f],
    )
    return F


def selftest(a, addr):
    bad, t0 = 0, time.monotonic()
    wanted = a.only
    for name, (find, groups, fault) in faults().items():
        if wanted and not fnmatch.fnmatch(name, wanted):
            continue
        p = Proxy(addr[1], fault)
        a.only, a.no_shrink = groups, True
        # the random sequences' clean-up and control session pass through the proxy as well: a fault may stop them, which counts as found
        try:
            rep, n, req, gone = compare(a, [addr[0], ("127.0.0.1", p.port)], quiet=True, first=bool(find))
        except Exception as e:
            rep, n, req, gone = Report([]), 0, 0, f"{type(e).__name__}: {e}"
        p.close()
        found = bool(rep.kinds) or bool(gone)
        ok = found == bool(find)
        bad += not ok
        print(
            f"{'ok ' if ok else 'BAD'} {name}: {'found' if found else 'not found'}{'' if find else ' (must not be)'}; {p.hits} frames changed, {n} sequences"
            + (f"; first: {next(iter(rep.kinds))}" if rep.kinds else f"; {gone}" if gone else ""),
            flush=True,
        )
    print(f"{bad} faults judged wrongly ({time.monotonic() - t0:.0f} s)")
    return 1 if bad else 0
