"""Random scripts: a seed always gives the same one. `random_script()` looks at no server."""

import random

from cases import BAD_PATHS, acl_d, cr, kills_oracle, login, multi, o, q
from jute import OPEN, USERS

FLAVOURS = ("general", "watches", "multi", "acl", "sessions", "sequence", "general", "burst", "fuzz", "tree")


def random_script(seed, length):
    """The script of a seed. Looks at no server; keeps only a rough model of which connections should be open."""
    r = random.Random(seed * 7919 + 13)
    fl = FLAVOURS[seed % len(FLAVOURS)]
    n = r.randint(2, 4)
    S = [f"s{i}" for i in range(n)]
    up = {s: True for s in S}
    marks = []
    ro = lambda: r.choice((None, False, False, True))
    steps = [q(s, "connect", ro=ro(), timeout=r.choice((30000, 30000, 10000, 100000))) for s in S]
    PATHS = ["$/a", "$/b", "$/a/x", "$/a/y", "$/a/x/q", "$/c", "$/e", "$/b/x"]
    W_ = lambda pairs: r.choices([p for p, _ in pairs], [w for _, w in pairs])[0]

    def path():
        v = r.random()
        if v < 0.80:
            return r.choice(PATHS)
        if v < 0.90:
            return f"%{r.randrange(40)}" + ("/k" if r.random() < 0.2 else "")
        if v < 0.96:
            return "$"
        if v < 0.975:
            return r.choice(("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "$/none/deep"))
        return r.choice([p for p in BAD_PATHS.values() if isinstance(p, str) and p not in ("/", "//")])

    guard = lambda st: (
        dict(st, path="$/a")
        if st["op"] in ("setACL", "setData", "delete", "deleteContainer")
        and st.get("path") in ("/", "/zookeeper", "/zookeeper/quota")
        else st
    )  # the server's own nodes stay as they are

    def cpath(flags):
        if flags in (2, 3, 6) and r.random() < 0.8:
            return r.choice(("$/a/s-", "$/s-", "$/a/", "$/b/x", "$/a/x/l-", "$/c/s", "$/"))
        return path()

    def data():
        return r.choice((None, b"", b"d1", b"0123456789", bytes([r.randrange(256)]) * r.choice((1, 50, 3000))))

    def version():
        return W_(((-1, 6), (0, 3), (1, 2), (2, 1), (5, 1), (-2, 0.2)))

    def acl():
        if r.random() < (0.35 if fl == "acl" else 0.85):
            return OPEN
        one = lambda: r.choice(
            (
                [r.choice((1, 3, 7, 15, 31, 30, 29, 27, 23)), "world", "anyone"],
                acl_d(r.choice(list(USERS)), r.choice((31, 31, 1, 5, 16))),
                [r.choice((31, 1)), "auth", ""],
                [r.choice((31, 3)), "ip", r.choice(("127.0.0.1", "127.0.0.0/8", "10.1.1.1"))],
            )
        )
        if r.random() < 0.08:
            return r.choice((None, [], [[31, "nope", "x"]], [[31, "digest", "nocolon"]], [[31, "world", "x"]]))
        return [one() for _ in range(r.choice((1, 1, 2, 3)))]

    def create(s, multi_ok=False):
        op = W_((("create", 5), ("create2", 4), ("createContainer", 1), ("createTTL", 1)))
        flags = (
            {
                "create": W_(((0, 6), (1, 3), (2, 3), (3, 2), (4, 0.3), (5, 0.2), (7, 0.2), (-1, 0.1))),
                "createContainer": W_(((4, 8), (0, 0.5), (1, 0.3), (5, 0.2))),
                "createTTL": W_(((5, 6), (6, 3), (0, 0.5), (4, 0.3))),
            }.get(op)
            if op != "create2"
            else W_(((0, 6), (1, 3), (2, 3), (3, 2), (4, 0.3), (6, 0.2)))
        )
        if fl == "sequence" and r.random() < 0.6:
            flags, op = r.choice((2, 3)), r.choice(("create", "create2"))
        f = (
            dict(ttl=W_(((3600000, 8), (0, 0.5), (-1, 0.5), (0xFFFFFFFFFF, 1), (1 << 40, 0.5))))
            if op == "createTTL"
            else {}
        )
        if f and kills_oracle(op, flags, f["ttl"]):
            f["ttl"] = 5000
        p = cpath(flags)
        if flags in (2, 3, 6) and (p == "/" or p.startswith("/zookeeper")):
            p = "$/"  # those counters have a history
        return cr(s, p, data(), acl(), flags, op, **f)

    def part():
        k = W_((("create", 4), ("delete", 3), ("setData", 3), ("check", 2)))
        if k == "create":
            d = create("")
        elif k == "setData":
            d = q("", "setData", path(), data=data(), version=version())
        else:
            d = q("", k, path(), version=version())
        return {k: v for k, v in guard(d).items() if k != "s"}

    def watch():
        return r.random() < (0.6 if fl == "watches" else 0.25)

    def plain(s):
        """One request that leaves the connection open."""
        k = W_(
            (
                ("create", 9),
                ("delete", 5),
                ("setData", 5),
                ("exists", 3),
                ("getData", 3),
                ("getChildren", 2),
                ("getChildren2", 3),
                ("getACL", 1.2),
                ("setACL", 3 if fl == "acl" else 0.8),
                ("sync", 0.5),
                ("multi", 12 if fl == "multi" else 2),
                ("multiRead", 3 if fl == "multi" else 0.8),
                ("auth", 3 if fl == "acl" else 0.6),
                ("whoAmI", 0.4),
                ("getEphemerals", 0.7),
                ("getAllChildrenNumber", 0.6),
                ("addWatch", 5 if fl == "watches" else 1),
                ("checkWatches", 2 if fl == "watches" else 0.5),
                ("removeWatches", 2 if fl == "watches" else 0.6),
                ("setWatches", 2.5 if fl == "watches" else 0.5),
                ("ping", 0.3),
                ("deleteContainer", 0.1),
            )
        )
        if k == "create":
            return create(s)
        if k == "delete":
            return q(s, "delete", path(), version=version())
        if k == "setData":
            return q(s, "setData", path(), data=data(), version=version())
        if k in ("exists", "getData", "getChildren", "getChildren2"):
            return q(s, k, path(), watch=watch())
        if k == "setACL":
            return q(s, "setACL", path() if r.random() < 0.9 else "$/a", acl=acl(), version=version()) if True else None
        if k == "multi":
            return multi(s, *[part() for _ in range(r.choice((1, 2, 2, 3, 4, 6)))])
        if k == "multiRead":
            return multi(
                s,
                *[o(r.choice(("getData", "getChildren")), path(), watch=False) for _ in range(r.randint(1, 4))],
                op="multiRead",
            )
        if k == "auth":
            return login(s, r.choice(list(USERS)))
        if k in ("getACL", "sync", "getEphemerals", "getAllChildrenNumber", "deleteContainer"):
            return q(s, k, path())
        if k == "addWatch":
            return q(s, k, path(), mode=r.choice((0, 1)))
        if k in ("checkWatches", "removeWatches"):
            return q(s, k, path(), watcher=r.choice((1, 2, 3, 3, 4, 5)))
        if k == "setWatches":
            some = lambda: r.sample(PATHS, r.randint(0, 4))
            rel = W_(
                ((0, 1), ({"plus": 0}, 2), ({"plus": -2}, 1)) + ((({"mark": r.choice(marks)}, 4),) if marks else ())
            )
            return (
                q(s, "setWatches2", rel=rel, data=some(), exist=some(), child=some(), pers=some(), rec=some()[:2])
                if r.random() < 0.6
                else q(s, "setWatches", rel=rel, data=some(), exist=some(), child=some())
            )
        return q(s, k)

    def reattach(s):
        d = q(s, "connect", sid="@self", passwd="@self", ro=ro())
        if r.random() < 0.2:
            d["last"] = {"plus": 0}
        return d

    while len(steps) < length + n:
        s = r.choice(S)
        if not up[s]:
            v = r.random()
            up[s] = True
            if v < 0.7:
                steps.append(reattach(s))
            elif v < 0.8:
                steps += [dict(reattach(s), pwflip=1), reattach(s)]
            else:
                steps.append(q(s, "connect", ro=ro()))
            continue
        v = r.random()
        rare = 3 if fl == "sessions" else 1
        if v < 0.012 * rare:
            steps.append(q(s, "closeSession"))
            up[s] = False
            steps.append(q(s, "connect", ro=ro()))
            up[s] = True
        elif v < 0.024 * rare:
            steps.append(q(s, "drop"))
            up[s] = False
        elif v < 0.034 * rare:
            steps.append(reattach(s))
        elif v < 0.042 * rare:
            steps.append(
                r.choice(
                    (
                        dict(s=s, op="raw", type=r.choice((0, 10, 23, 99, 108, 999)), body=b""),
                        q(s, "check", path(), version=version()),
                        q(s, "auth", scheme="nope", auth=b"x"),
                        dict(s=s, op="sendraw", bytes=b"\xff\xff\xff\xff", wait=1.0),
                    )
                )
            )
            up[s] = False
        elif v < 0.048 * rare:
            steps.append(q(s, "connect", sid="@self", passwd="@self", last={"plus": r.choice((1, 1000))}, wait=1.5))
            up[s] = False
        elif v < 0.10:
            marks.append(f"m{len(marks)}")
            steps.append(dict(op="mark", name=marks[-1]))
        elif v < (0.45 if fl == "burst" else 0.14):
            steps.append(
                dict(
                    s=s,
                    op="burst",
                    reqs=[p for p in (guard(plain(s)) for _ in range(r.choice((2, 3, 5, 8, 20)))) if p["op"] != "auth"]
                    or [q(s, "ping")],
                )
            )
        elif fl == "fuzz" and v < 0.55:
            st = guard(plain(s))
            if st["op"] == "createTTL":
                continue  # see kills_oracle()
            st["flip"] = (
                [
                    [r.randrange(2000), r.choice((0, 1, 0xFF, 0x7F, 0x80, r.randrange(256)))]
                    for _ in range(r.choice((1, 1, 2, 4)))
                ]
                if r.random() < 0.6
                else []
            )
            if not st["flip"]:
                del st["flip"]
                st[r.choice(("keep", "cut"))] = r.randrange(30)
            st["tag"] = "fuzz"
            st["wait"] = 3.0
            steps += [st, q(s, "connect", tag="after fuzz")]
        else:
            st = guard(plain(s))
            if r.random() < 0.25:
                st["nofence"] = 1
            steps.append(st)
        if fl in ("tree", "sequence") and r.random() < 0.2:
            steps.append(q(s, "getChildren2", r.choice(("$", "$/a", "$/b"))))
    return (
        steps
        + [q("z", "connect", ro=True)]
        + [q("z", op, p) for p in ["$"] + PATHS for op in ("getData", "getChildren2", "getACL")]
        + [q("z", "getAllChildrenNumber", "$")]
    )
