"""The hand-written scripts: `cases()` returns them all.

A case is one call of `C(group, name, step, ...)`. A step is a dict, made by the short functions at the top:

    q(session, op, path, ...)   any request            cr(session, path, data, ...)   a create
    con(session, ...)           connections            multi(session, part, ...)      a multi
    o(op, path, ...)            a part of a multi      oc(path, data, ...)            a create within a multi

In a path, `$` is the folder of the script, `$R` a sibling of it below the root, and `%n` the n-th path that the server has
named in a reply.
"""

import struct

from jute import ALL, MAXBUF, OPEN, USERS, digest
from player import Runner


def q(s, op, path=..., **f):
    d = {"s": s, "op": op}
    if path is not ...:
        d["path"] = path
    d.update(f)
    return d


def cr(s, path, data=b"", acl=OPEN, flags=0, op="create", **f):
    return q(s, op, path, data=data, acl=acl, flags=flags, **f)


def con(*names, **f):
    return [q(n, "connect", **f) for n in names]


def multi(s, *ops, op="multi", **f):
    return q(s, op, ops=[dict(o) for o in ops], **f)


def o(op, path=..., **f):
    return {k: v for k, v in q("", op, path, **f).items() if k != "s"}


def oc(path, data=b"", acl=OPEN, flags=0, op="create", **f):
    return o(op, path, data=data, acl=acl, flags=flags, **f)


def login(s, user):
    return q(s, "auth", scheme="digest", auth=f"{user}:{USERS[user]}".encode())


def acl_d(user, perms=ALL):
    return [perms, "digest", digest(user, USERS[user])]


def world(p):
    return [[p, "world", "anyone"]]


BAD_PATHS = {
    "null": None,
    "empty": "",
    "relative": "NOSLASH/a",
    "ends-in-slash": "$/a/",
    "double-slash": "$//a",
    "inner-double-slash": "$/a//b",
    "dot": "$/./a",
    "dotdot": "$/../a",
    "last-dot": "$/.",
    "last-dotdot": "$/a/..",
    "three-dots": "$/...",
    "dot-prefix": "$/.a",
    "dotdot-prefix": "$/..a",
    "dot-suffix": "$/a.",
    "NUL": "$/a\0b",
    "U+0001": "$/a\x01",
    "U+001F": "$/\x1f",
    "space": "$/a b",
    "tab": "$/a\tb",
    "U+007E": "$/a~",
    "U+007F": "$/a\x7f",
    "U+0080": "$/a\x80",
    "U+009F": "$/a\x9f",
    "U+00A0": "$/a\xa0",
    "U+D7FF": "$/a\ud7ff",
    "U+D800": "$/a\ud800",
    "U+E000": "$/a\ue000",
    "U+F8FF": "$/a\uf8ff",
    "U+F900": "$/a\uf900",
    "U+FFEF": "$/a\uffef",
    "U+FFF0": "$/a\ufff0",
    "U+FFFD": "$/a\ufffd",
    "U+FFFF": "$/a\uffff",
    "supplementary": "$/a\U0001f600",
    "bad-utf8": {"len": 8, "raw": b"/dt\xff\xfe\x80zz"},
    "overlong-nul": {"len": 7, "raw": b"/dtq\xc0\x80z"},
    "root": "/",
    "only-slashes": "//",
    "negative-length": {"len": -2},
    "longer-than-frame": {"len": 100, "raw": b"/dt"},
    "huge-length": {"len": 0x7FFFFFFF, "raw": b"/dt"},
    "min-length": {"len": -0x80000000},
    "just-over-maxbuffer": {"len": MAXBUF * 2 + 1025, "raw": b"/dt"},
}
PATH_OPS = [
    ("create", dict(data=b"", acl=OPEN, flags=0)),
    ("create2", dict(data=b"", acl=OPEN, flags=0)),
    ("createContainer", dict(data=b"", acl=OPEN, flags=4)),
    ("createTTL", dict(data=b"", acl=OPEN, flags=5, ttl=3600000)),
    ("createSeq", dict(data=b"", acl=OPEN, flags=2)),
    ("createEphemeral", dict(data=b"", acl=OPEN, flags=1)),
    ("delete", dict(version=7)),
    ("exists", {}),
    ("existsWatch", dict(watch=True)),
    ("getData", {}),
    ("getDataWatch", dict(watch=True)),
    ("setData", dict(data=b"x", version=7)),
    ("getACL", {}),
    ("setACL", dict(acl=OPEN, version=7)),
    ("getChildren", {}),
    ("getChildren2", {}),
    ("sync", {}),
    ("checkWatches", dict(watcher=3)),
    ("removeWatches", dict(watcher=3)),
    ("addWatch", dict(mode=0)),
    ("addWatchRec", dict(mode=1)),
    ("getEphemerals", {}),
    ("getAllChildrenNumber", {}),
]
REAL_OP = dict(
    createSeq="create", createEphemeral="create", existsWatch="exists", getDataWatch="getData", addWatchRec="addWatch"
)


def every_request():
    """One good request of every op, for the systematic deformations."""
    return [
        cr("s0", "$/n", b"dat"),
        cr("s0", "$/n", b"dat", op="create2"),
        cr("s0", "$/n", b"dat", op="createContainer", flags=4),
        cr("s0", "$/n", b"dat", op="createTTL", flags=5, ttl=3600000),
        q("s0", "delete", "$/a", version=-1),
        q("s0", "exists", "$/a", watch=True),
        q("s0", "getData", "$/a", watch=True),
        q("s0", "setData", "$/a", data=b"new", version=-1),
        q("s0", "getACL", "$/a"),
        q("s0", "setACL", "$/a", acl=OPEN, version=-1),
        q("s0", "getChildren", "$/a", watch=True),
        q("s0", "getChildren2", "$/a", watch=True),
        q("s0", "sync", "$/a"),
        multi(
            "s0",
            oc("$/m"),
            o("setData", "$/a", data=b"z", version=-1),
            o("check", "$/a", version=-1),
            o("delete", "$/m", version=-1),
        ),
        multi("s0", o("getData", "$/a"), o("getChildren", "$/a"), op="multiRead"),
        q("s0", "auth", scheme="digest", auth=b"alice:a1"),
        q("s0", "setWatches", rel=0, data=["$/a"], exist=["$/q"], child=["$/a"]),
        q("s0", "setWatches2", rel=0, data=["$/a"], exist=["$/q"], child=["$/a"], pers=["$/a"], rec=["$/a"]),
        q("s0", "checkWatches", "$/a", watcher=3),
        q("s0", "removeWatches", "$/a", watcher=3),
        q("s0", "addWatch", "$/a", mode=1),
        q("s0", "getEphemerals", "$"),
        q("s0", "getAllChildrenNumber", "$"),
        q("s0", "whoAmI"),
        q("s0", "ping"),
    ]


def kills_oracle(op, flags, ttl):
    """createTTL with a mode that is not a TTL mode and a negative ttl passes ZooKeeper 3.9.5's checks, then its only write
    thread dies of IllegalArgumentException - again at each restart, since the transaction is in the log. Never sent."""
    return op == "createTTL" and flags in (0, 1, 2, 3, 4) and ttl is not None and ttl < 0


def cases(superauth=None):
    """-> [{"group", "name", "steps", "through": later steps still make sense when one differs}]"""
    out = []

    def C(group, name, *steps, through=False, s=1):
        flat = []
        for x in steps:
            flat += x if isinstance(x, list) else [x]
        out.append(dict(group=group, name=name, steps=con(*[f"s{i}" for i in range(s)]) + flat, through=through))

    again = q("s0", "connect")  # a new session under the same name

    # ---- connect
    for ro in (None, False, True):
        C(
            "connect",
            f"readOnly flag {'absent' if ro is None else ro}",
            q("a", "connect", ro=ro),
            q("a", "exists", "$"),
            q("a", "connect", ro=ro, sid="@self", passwd="@self"),
            s=0,
        )
    C("connect", "readOnly flag 2", q("a", "connect", ro=2), q("a", "ping"), s=0)
    for t in (0, -1, 1, 3999, 4000, 4001, 10000, 39999, 40000, 40001, 10**9, 0x7FFFFFFF, -0x80000000):
        C(
            "connect",
            f"timeout {t}",
            q("a", "connect", timeout=t),
            q("a", "ping"),
            q("a", "connect", sid="@self", passwd="@self", timeout=12345),
            s=0,
        )
    for pv in (1, -1, 10, 11, 12, 42, 0x7FFFFFFF):
        C("connect", f"protocolVersion {pv}", q("a", "connect", pv=pv, wait=1.5), q("a", "ping"), s=0)
    C(
        "connect",
        "odd passwords for a new session",
        q("a", "connect", passwd=None),
        q("b", "connect", passwd=b""),
        q("c", "connect", passwd=b"x" * 17),
        q("d", "connect", passwd=b"y" * 16),
        [q(n, "exists", "$") for n in "abcd"],
        through=True,
        s=0,
    )
    C(
        "connect",
        "reattach: right password",
        cr("s0", "$/e", flags=1),
        q("s0", "drop"),
        q("s1", "exists", "$/e", watch=True),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "exists", "$/e"),
        q("s0", "getEphemerals", "$"),
        q("s0", "closeSession"),
        q("s1", "ping"),
        s=2,
    )
    C(
        "connect",
        "reattach: wrong password, then right",
        cr("s0", "$/e", flags=1),
        q("s0", "drop"),
        q("s0", "connect", sid="@self", passwd="@self", pwflip=1),
        q("s1", "exists", "$/e"),
        q("s0", "connect", sid="@self", passwd="@self", ro=None, pwflip=1),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "exists", "$/e"),
        s=2,
    )
    C(
        "connect",
        "reattach: wrong password while the owner is connected",
        cr("s0", "$/e", flags=1),
        q("t", "connect", sid="@s0", passwd="@s0", pwflip=1),
        q("s0", "exists", "$/e"),
        q("s0", "ping"),
    )
    for n in (0, 1, 15):
        C(
            "connect",
            f"reattach: password of {n} bytes",
            q("s0", "drop"),
            q("s0", "connect", sid="@self", passwd="@self", pwkeep=n),
            q("s0", "connect", sid="@self", passwd="@self"),
            q("s0", "ping"),
        )
    C(
        "connect",
        "reattach: null password",
        q("s0", "connect", sid="@self", passwd=None),
        q("s0", "connect", sid="@self", passwd="@self"),
    )
    C(
        "connect",
        "reattach: unknown sessions",
        q("a", "connect", sid=0x1234567890, passwd=b"p" * 16),
        q("b", "connect", sid=-5, passwd=b"p" * 16),
        q("c", "connect", sid=1),
        q("d", "connect", sid=-(1 << 63)),
        q("e", "connect", sid=1, ro=None),
        through=True,
        s=0,
    )
    C(
        "connect",
        "reattach: closed session",
        q("s0", "closeSession"),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "connect", sid="@self", passwd="@self", ro=None),
    )
    C(
        "connect",
        "reattach takes over from a live connection",
        q("s0", "exists", "$/w", watch=True),
        q("s0", "addWatch", "$/w", mode=1),
        cr("s0", "$/e", flags=1),
        q("t", "connect", sid="@s0", passwd="@s0"),
        q("s0", "ping"),
        q("t", "exists", "$/e"),
        cr("s1", "$/w"),
        q("t", "getEphemerals", "$"),
        cr("t", "$/e2", flags=1),
        q("t", "closeSession"),
        q("s1", "exists", "$/e2"),
        s=2,
    )
    C(
        "connect",
        "a dropped connection's watches are gone, its ephemerals stay",
        q("s0", "exists", "$/w", watch=True),
        cr("s0", "$/e", flags=1),
        q("s0", "drop"),
        cr("s1", "$/w"),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s1", "setData", "$/w", data=b"1"),
        q("s1", "exists", "$/e"),
        q("s0", "checkWatches", "$/w", watcher=3),
        s=2,
    )
    C(
        "connect",
        "auth does not survive a reattach",
        login("s0", "alice"),
        q("s0", "whoAmI"),
        cr("s0", "$/p", acl=[acl_d("alice")]),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "whoAmI"),
        q("s0", "getData", "$/p"),
        login("s0", "alice"),
        q("s0", "getData", "$/p"),
    )
    C(
        "connect",
        "lastZxidSeen ahead, new session",
        q("a", "connect", last={"plus": 1}, wait=1.5),
        q("b", "connect", last={"plus": 1000000}, wait=1.5),
        q("c", "connect", last=(1 << 63) - 1, wait=1.5),
        q("d", "connect", last={"plus": 0}),
        q("e", "connect", last=-1),
        q("f", "connect", last=-(1 << 63)),
        through=True,
    )
    C(
        "connect",
        "lastZxidSeen ahead, reattach",
        cr("s0", "$/a"),
        q("s0", "connect", sid="@self", passwd="@self", last={"plus": 1}, wait=1.5),
        q("s0", "connect", sid="@self", passwd="@self", last={"plus": 0}),
        q("s0", "connect", sid="@self", passwd="@self", last={"plus": 100}, pwflip=1, wait=1.5),
        q("s0", "connect", sid="@self", passwd="@self", last=0),
        q("s0", "exists", "$/a"),
    )
    for n in (1, 2, 17, 18, 20, 30, 40, 44):
        C(
            "connect",
            f"connect frame short of {n} bytes",
            q("a", "connect", cut=n, wait=1.0),
            q("b", "connect", ro=None),
            s=0,
        )
    for n in (1, 2, 10, 200):
        C(
            "connect",
            f"connect frame with {n} more bytes",
            q("a", "connect", pad=b"\0" * n, wait=1.5),
            q("a", "ping"),
            s=0,
        )
    C(
        "connect",
        "connect frame, byte by byte",
        q("a", "connect", split=1),
        q("a", "exists", "$", split=1),
        q("b", "connect", split=3),
        s=0,
    )
    H = Runner.hello(0, 0, 30000, 0, b"\0" * 16, False)
    frm = lambda b: struct.pack(">i", len(b)) + b
    ping, exists_root = frm(struct.pack(">ii", -2, 11)), frm(struct.pack(">iii", 1, 3, 1) + b"/\0")
    close = frm(struct.pack(">ii", 2, -11))
    for name, ch, f in [
        ("nothing", [], {}),
        ("hello and requests in one segment", [H + exists_root + ping + exists_root], {}),
        ("hello and closeSession in one segment", [H + close], {}),
        ("zero-length first frame", [b"\0\0\0\0"], dict(nohello=1, wait=1)),
        ("negative first length", [b"\xff\xff\xff\xff"], dict(nohello=1, wait=1)),
        ("most negative first length", [b"\x80\0\0\0"], dict(nohello=1, wait=1)),
        ("first length just over jute.maxbuffer", [struct.pack(">i", MAXBUF + 1)], dict(nohello=1, wait=1)),
        ("first length = jute.maxbuffer, nothing more", [struct.pack(">i", MAXBUF)], dict(nohello=1)),
        ("HTTP", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], dict(nohello=1, wait=1)),
        ("TLS hello", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60], dict(nohello=1, wait=1)),
        ("three bytes", [b"ruo"], dict(nohello=1)),
        ("four letter word in pieces", [b"ru", b"ok"], dict(nohello=1, wait=1, pause=0.05)),
        ("unknown four letters", [b"abcd"], dict(nohello=1, wait=1)),
        ("a request instead of a hello", [exists_root], dict(nohello=1, wait=1)),
        ("ping instead of a hello", [ping], dict(nohello=1, wait=1)),
        ("two hellos", [H, H], dict(wait=1)),
        ("hello, then a four letter word", [H, b"ruok"], dict(wait=1)),
        ("hello, zero-length frame", [H, b"\0\0\0\0"], dict(wait=1)),
        ("hello, negative length", [H, b"\xff\xff\xff\xfe"], dict(wait=1)),
        ("hello, oversize length", [H, struct.pack(">i", MAXBUF + 1)], dict(wait=1)),
        ("hello, huge length", [H, b"\x7f\xff\xff\xff"], dict(wait=1)),
        ("hello, half a frame", [H, exists_root[:7]], {}),
        ("hello, request in three pieces", [H, exists_root[:3], exists_root[3:9], exists_root[9:]], dict(pause=0.05)),
        ("hello, 4-byte frame", [H, frm(b"\0\0\0\1")], dict(wait=1)),
        ("hello, 7-byte frame", [H, frm(b"\0\0\0\1\0\0\0")], dict(wait=1)),
        ("hello, 8-byte frame of an op that needs a body", [H, frm(struct.pack(">ii", 1, 3))], dict(wait=1)),
        ("hello in two pieces", [H[:10], H[10:]], dict(pause=0.05)),
    ]:
        C("framing", name, dict(op="rawconn", chunks=ch, **f), s=0)

    # ---- create
    for op in ("create", "create2", "createContainer", "createTTL"):
        steps = []
        for n, fl in enumerate((0, 1, 2, 3, 4, 5, 6, 7, 8, -1, 100, 0x7FFFFFFF)):
            for m, ttl in enumerate(
                (-1, 0, 1, 3600000, 0xFFFFFFFFFF, 0x10000000000, -2, (1 << 63) - 1) if op == "createTTL" else (None,)
            ):
                if kills_oracle(op, fl, ttl):
                    continue
                p = f"$/n{n}x{m}"
                steps += [
                    cr(
                        "s0",
                        p,
                        b"d",
                        flags=fl,
                        op=op,
                        **({} if ttl is None else dict(ttl=ttl, tag=f"flags={fl},ttl={ttl}")),
                    )
                ]
                if fl in (0, 1, 4, 5) and m < 4:
                    steps += [q("s0", "exists", p), cr("s0", p + "/kid", op="create2"), q("s0", "getData", p)]
        C(
            "create",
            f"{op}: all flags",
            steps,
            q("s0", "getChildren2", "$"),
            q("s0", "getEphemerals", "$"),
            through=True,
        )
    C(
        "create",
        "exists already / no parent / parent",
        cr("s0", "$/a", b"1"),
        cr("s0", "$/a", b"2"),
        q("s0", "getData", "$/a"),
        cr("s0", "$/no/kid"),
        cr("s0", "$/a/k", op="create2"),
        q("s0", "getChildren2", "$/a"),
        q("s0", "getChildren2", "$"),
        cr("s0", "$", op="create2"),
    )
    C(
        "create",
        "ephemerals: stat, no children, owner",
        cr("s0", "$/e", b"1", flags=1, op="create2"),
        q("s1", "exists", "$/e"),
        cr("s1", "$/e/k"),
        cr("s0", "$/e/k", flags=1),
        cr("s1", "$/e", flags=1),
        q("s1", "getEphemerals", "$"),
        q("s0", "getEphemerals", "$"),
        q("s1", "setData", "$/e", data=b"2"),
        q("s1", "delete", "$/e"),
        q("s0", "getEphemerals", "$"),
        s=2,
    )
    C(
        "create",
        "container and TTL nodes: owner 0, children allowed, not in getEphemerals",
        cr("s0", "$/c", flags=4, op="createContainer"),
        cr("s0", "$/t", flags=5, ttl=3600000, op="createTTL"),
        cr("s0", "$/t6", flags=6, ttl=3600000, op="createTTL"),
        [
            x
            for p in ("$/c", "$/t")
            for x in (
                cr("s0", p + "/k"),
                cr("s0", p + "/e", flags=1),
                cr("s0", p + "/s", flags=2),
                q("s0", "exists", p),
                q("s0", "setData", p, data=b"n"),
                q("s0", "delete", p),
            )
        ],
        q("s0", "getEphemerals", "$"),
        q("s0", "getAllChildrenNumber", "$"),
        q("s0", "closeSession"),
        q("s1", "getChildren2", "$"),
        s=2,
        through=True,
    )
    C(
        "create",
        "data null, empty, text; dataLength",
        [
            x
            for i, d in enumerate((None, b"", b"abc", bytes(range(256))))
            for x in (cr("s0", f"$/d{i}", d, op="create2"), q("s0", "getData", f"$/d{i}"), q("s0", "exists", f"$/d{i}"))
        ],
        through=True,
    )
    C(
        "create",
        "negative data length",
        cr("s0", "$/a", {"len": -2}),
        again,
        cr("s0", "$/a", {"len": 1000, "raw": b"x"}),
        q("s0", "exists", "$/a"),
    )
    C(
        "create",
        "at the root",
        cr("s0", "$R", b"r", op="create2"),
        q("s0", "exists", "/"),
        q("s0", "getChildren2", "/"),
        q("s0", "getAllChildrenNumber", "/"),
        cr("s0", "$R/k"),
        q("s0", "delete", "$R"),
        q("s0", "delete", "$R/k"),
        q("s0", "delete", "$R"),
        q("s0", "getChildren2", "/"),
        cr("s0", "/", op="create"),
    )
    seq = [
        cr("s0", "$/p/s-", flags=2),
        cr("s0", "$/p/s-", flags=2, op="create2"),
        cr("s0", "$/p/plain"),
        cr("s0", "$/p/s-", flags=2),
        q("s0", "delete", "$/p/plain"),
        cr("s0", "$/p/s-", flags=3),
        q("s0", "delete", "%1"),
        cr("s0", "$/p/other", flags=2),
        cr("s0", "$/p/", flags=2),
        cr("s0", "$/p", flags=2),
        cr("s0", "$/p/gone/x", flags=2),
        cr("s0", "$/p/s-", flags=2),
        cr("s0", "$/p/s-", flags=6, ttl=3600000, op="createTTL"),
        q("s0", "getChildren2", "$/p"),
    ]
    C(
        "sequence",
        "the counter: creates only, shared by all prefixes, not by failures",
        cr("s0", "$/p"),
        seq,
        through=True,
    )
    C(
        "sequence",
        "bare number below a trailing slash",
        cr("s0", "$/l"),
        cr("s0", "$/l/", flags=2),
        cr("s0", "$/l/", flags=3, op="create2"),
        cr("s0", "$/l//", flags=2),
        cr("s0", "$/l/.", flags=2),
        cr("s0", "$/l/..", flags=2),
        cr("s0", "$/l/a/", flags=2),
        q("s0", "getChildren", "$/l"),
        through=True,
    )
    C(
        "sequence",
        "the number is taken",
        cr("s0", "$/p"),
        cr("s0", "$/p/s0000000001"),
        cr("s0", "$/p/s0000000002"),
        cr("s0", "$/p/s", flags=2),
        cr("s0", "$/p/s", flags=2),
        cr("s0", "$/p/s", flags=2),
        through=True,
    )
    C(
        "sequence",
        "deleting and making the parent again starts over",
        cr("s0", "$/p"),
        cr("s0", "$/p/s", flags=2),
        q("s0", "delete", "%1"),
        cr("s0", "$/p/s", flags=2),
        q("s0", "delete", "%2"),
        q("s0", "delete", "$/p"),
        cr("s0", "$/p"),
        cr("s0", "$/p/s", flags=2),
    )
    C(
        "sequence",
        "setData and setACL of the parent do not count",
        cr("s0", "$/p"),
        q("s0", "setData", "$/p", data=b"1"),
        q("s0", "setACL", "$/p", acl=OPEN),
        cr("s0", "$/p/s", flags=2),
        q("s0", "exists", "$/p"),
    )
    C(
        "sequence",
        "a failed multi takes no number",
        cr("s0", "$/p"),
        multi("s0", oc("$/p/s", flags=2), oc("$/p/s", flags=2), o("check", "$/p", version=9)),
        cr("s0", "$/p/s", flags=2),
        multi("s0", oc("$/p/s", flags=2), oc("$/p/s", flags=3), oc("$/p/q"), oc("$/p/s", flags=2, op="create2")),
        q("s0", "getChildren2", "$/p"),
    )
    C(
        "sequence",
        "cversion counts creates and deletes",
        cr("s0", "$/p"),
        [x for i in range(5) for x in (cr("s0", "$/p/s", flags=2), q("s0", "exists", "$/p"))],
        [x for i in range(1, 5) for x in (q("s0", "delete", f"%{i}"), q("s0", "exists", "$/p"))],
        cr("s0", "$/p/s", flags=2),
        q("s0", "getChildren2", "$/p"),
    )
    C(
        "create",
        "long and odd names",
        [
            x
            for i, n in enumerate(("x" * 255, "y" * 5000, "%25", "a=b,c;d", "日本語", "é", "-", "...", "\\", "$$"))
            for x in (cr("s0", "$/" + n.replace("$", "S")), q("s0", "exists", "$/" + n.replace("$", "S")))
        ],
        q("s0", "getChildren", "$"),
        through=True,
    )

    # ---- paths: every rule against every op
    for name, f in PATH_OPS:
        op = REAL_OP.get(name, name)
        C(
            "paths",
            f"{name}",
            cr("s0", "$/a"),
            [
                x
                for pn, p in BAD_PATHS.items()
                for x in (
                    q("s0", op, p, **f, tag=f"{name},path:{pn}"),
                    q("s0", "connect", tag="after") if isinstance(p, dict) or p is None else [],
                )
                if x
            ],
            q("s0", "getChildren", "$"),
            q("s0", "getChildren", "$/a"),
            through=True,
        )
    for op in ("create", "delete", "setData", "check", "create2"):
        f = dict(dict(PATH_OPS).get(op, dict(version=7)))
        C(
            "paths",
            f"{op} inside multi",
            cr("s0", "$/a"),
            [
                x
                for pn, p in BAD_PATHS.items()
                for x in (
                    multi("s0", oc("$/m"), o(op, p, **f), tag=f"{op},path:{pn}"),
                    q("s0", "connect", tag="after") if isinstance(p, dict) or p is None else [],
                )
                if x
            ],
            q("s0", "getChildren", "$"),
            through=True,
        )
    for op in ("getData", "getChildren"):
        C(
            "paths",
            f"{op} inside multiRead",
            cr("s0", "$/a"),
            [
                x
                for pn, p in BAD_PATHS.items()
                for x in (
                    multi("s0", o(op, "$/a"), o(op, p), op="multiRead", tag=f"{op},path:{pn}"),
                    q("s0", "connect", tag="after") if isinstance(p, dict) or p is None else [],
                )
                if x
            ],
            through=True,
        )
    for k in ("data", "exist", "child", "pers", "rec"):
        C(
            "paths",
            f"setWatches2 {k}",
            cr("s0", "$/a"),
            [
                x
                for pn, p in BAD_PATHS.items()
                for x in (
                    q("s0", "setWatches2", rel=0, **{k: [p]}, tag=f"{k},path:{pn}"),
                    q("s0", "connect", tag="after"),
                )
                if x
            ],
            through=True,
        )

    # ---- data and versions
    C(
        "data",
        "setData versions and stat",
        cr("s0", "$/a", b"0"),
        [
            q("s0", "setData", "$/a", data=b"%d" % i, version=v)
            for i, v in enumerate((0, 0, 1, -1, 3, 2, -2, 99, 0x7FFFFFFF, -0x80000000, 3))
        ],
        q("s0", "getData", "$/a"),
        q("s0", "setData", "$/none", data=b"", version=-1),
        q("s0", "setData", "$/a", data=None),
        q("s0", "getData", "$/a"),
        through=True,
    )
    C(
        "data",
        "setData changes version, mzxid, mtime only",
        cr("s0", "$/a"),
        cr("s0", "$/a/k"),
        q("s0", "setACL", "$/a", acl=OPEN),
        q("s0", "setData", "$/a", data=b"1"),
        q("s0", "exists", "$"),
        q("s0", "getACL", "$/a"),
    )
    C(
        "data",
        "exists / getData / getChildren on a missing node",
        [
            q("s0", op, "$/none", watch=w)
            for op in ("exists", "getData", "getChildren", "getChildren2")
            for w in (False, True)
        ],
        q("s0", "getACL", "$/none"),
        q("s0", "getAllChildrenNumber", "$/none"),
        q("s0", "sync", "$/none"),
        cr("s0", "$/none"),
        through=True,
    )
    C(
        "data",
        "delete: version, children, parent's stat",
        cr("s0", "$/a"),
        cr("s0", "$/a/k"),
        q("s0", "delete", "$/a"),
        q("s0", "delete", "$/a", version=5),
        q("s0", "delete", "$/a/k", version=1),
        q("s0", "delete", "$/a/k", version=-2),
        q("s0", "delete", "$/a/k", version=0),
        q("s0", "exists", "$/a"),
        q("s0", "delete", "$/a/k"),
        q("s0", "delete", "$/a"),
        q("s0", "exists", "$"),
        through=True,
    )
    C(
        "data",
        "create, delete, create: a new node",
        cr("s0", "$/a", b"1", op="create2"),
        q("s0", "setData", "$/a", data=b"2"),
        q("s0", "delete", "$/a", version=1),
        cr("s0", "$/a", b"3", op="create2"),
        q("s0", "exists", "$"),
    )
    C(
        "data",
        "watch byte other than 0 or 1",
        cr("s0", "$/a"),
        q("s0", "exists", "$/a", watch=2),
        q("s0", "setData", "$/a", data=b""),
        q("s0", "getData", "$/a", watch=255),
        q("s0", "setData", "$/a", data=b""),
    )
    C(
        "data",
        "check alone closes",
        q("s0", "check", "$", version=-1),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "check", "$/none", version=3),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "ping"),
        through=True,
    )

    # ---- system nodes
    C(
        "system",
        "the tree at the start",
        q("s0", "getChildren2", "/zookeeper"),
        q("s0", "exists", "/zookeeper"),
        q("s0", "exists", "/zookeeper/quota"),
        q("s0", "getACL", "/"),
        q("s0", "getACL", "/zookeeper"),
        q("s0", "getACL", "/zookeeper/quota"),
        q("s0", "getACL", "/zookeeper/config"),
        q("s0", "exists", "/"),
        q("s0", "getData", "/"),
        q("s0", "getChildren2", "/"),
        through=True,
    )
    C(
        "system",
        "cannot be deleted or changed",
        [q("s0", "delete", p) for p in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")],
        q("s0", "setData", "/zookeeper/config", data=b"x"),
        q("s0", "setACL", "/zookeeper/config", acl=OPEN),
        cr("s0", "/zookeeper/config/x"),
        cr("s0", "/zookeeper"),
        cr("s0", "/zookeeper/config"),
        q("s0", "setACL", "/", acl=OPEN, version=77),
        q("s0", "setData", "/", data=b"", version=77),
        multi("s0", o("delete", "/zookeeper")),
        multi("s0", o("setData", "/zookeeper/config", data=b"")),
        through=True,
    )
    C(
        "system",
        "the config node",
        q("s0", "getData", "/zookeeper/config", watch=True),
        q("s0", "getChildren2", "/zookeeper/config"),
        through=True,
    )
    for t, kw in (
        ("joining", dict(joining="server.9=127.0.0.1:1:2;3")),
        ("leaving", dict(leaving="1")),
        ("members", dict(members="server.1=127.0.0.1:1:2;3")),
        ("nothing", {}),
        ("version", dict(leaving="1", cfg=5)),
    ):
        C("system", f"reconfig {t} on a standalone server", q("s0", "reconfig", **kw), q("s0", "ping"))
    C(
        "system",
        "getAllChildrenNumber",
        cr("s0", "$/a"),
        cr("s0", "$/a/b"),
        cr("s0", "$/a/b/c"),
        cr("s0", "$/ab"),
        [q("s0", "getAllChildrenNumber", p) for p in ("$", "$/a", "$/a/b", "$/a/b/c", "/", "/zookeeper")],
        q("s0", "delete", "$/ab"),
        q("s0", "getAllChildrenNumber", "$"),
        through=True,
    )
    C(
        "system",
        "getEphemerals: prefixes",
        [cr("s0", p, flags=1) for p in ("$/e1", "$/e2", "$/f")],
        cr("s1", "$/e3", flags=1),
        cr("s0", "$/d"),
        cr("s0", "$/d/e", flags=1),
        [q("s0", "getEphemerals", p) for p in ("$", "$/", "$/e", "$/e1", "$/e1x", "/", "", None, "$/d", "$/none", "x")],
        q("s1", "getEphemerals", "/"),
        q("s2", "getEphemerals", "/"),
        s=3,
        through=True,
    )
    C(
        "system",
        "getEphemerals below an unreadable node",
        cr("s0", "$/p", acl=[acl_d("alice")]),
        login("s0", "alice"),
        cr("s0", "$/p/e", flags=1),
        q("s0", "getEphemerals", "/"),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "getEphemerals", "/"),
        q("s0", "getEphemerals", "$/p"),
    )
    C(
        "system",
        "sync",
        [q("s0", "sync", p) for p in ("/", "$", "$/none")],
        cr("s0", "$/a"),
        q("s0", "sync", "$/a"),
        through=True,
    )
    C(
        "system",
        "whoAmI and ping",
        q("s0", "whoAmI"),
        login("s0", "alice"),
        q("s0", "whoAmI"),
        login("s0", "bob"),
        login("s0", "alice"),
        q("s0", "whoAmI"),
        q("s0", "ping"),
        q("s0", "ping", xid=9),
        q("s0", "whoAmI", pad=b"zz"),
        through=True,
    )
    C(
        "system",
        "deleteContainer from a client",
        cr("s0", "$/c", op="createContainer", flags=4),
        cr("s0", "$/t", op="createTTL", flags=5, ttl=3600000),
        cr("s0", "$/n"),
        cr("s0", "$/e", flags=1),
        cr("s0", "$/c2", op="createContainer", flags=4),
        cr("s0", "$/c2/k"),
        [q("s0", "deleteContainer", p) for p in ("$/c", "$/t", "$/n", "$/e", "$/c2", "$/none")],
        q("s0", "getChildren2", "$"),
        through=True,
    )

    # ---- ACL
    bad = dict(
        null=None,
        empty=[],
        negative={"count": -2},
        huge={"count": 0x7FFFFFFF},
        unknown_scheme=[[31, "nope", "x"]],
        null_scheme=[[31, None, "x"]],
        null_id=[[31, "world", None]],
        world_someone=[[31, "world", "someone"]],
        world_empty=[[31, "world", ""]],
        digest_no_colon=[[31, "digest", "alice"]],
        digest_two_colons=[[31, "digest", "a:b:c"]],
        digest_any=[[31, "digest", "a:b"]],
        digest_empty=[[31, "digest", ""]],
        ip_ok=[[31, "ip", "127.0.0.1"]],
        ip_bits=[[31, "ip", "127.0.0.0/8"]],
        ip_bits0=[[31, "ip", "127.0.0.1/0"]],
        ip_bits33=[[31, "ip", "127.0.0.1/33"]],
        ip_negbits=[[31, "ip", "127.0.0.1/-1"]],
        ip_text=[[31, "ip", "localhost"]],
        ip_v6=[[31, "ip", "::1"]],
        ip_v6bits=[[31, "ip", "fe80::/10"]],
        ip_short=[[31, "ip", "127.0.0"]],
        ip_big=[[31, "ip", "127.0.0.256"]],
        ip_empty=[[31, "ip", ""]],
        auth_none=[[31, "auth", ""]],
        auth_text=[[31, "auth", "whatever"]],
        auth_null=[[31, "auth", None]],
        x509=[[31, "x509", "CN=a"]],
        sasl=[[31, "sasl", "bob"]],
        super=[[31, "super", "x"]],
        perms0=[[0, "world", "anyone"]],
        perms32=[[32, "world", "anyone"]],
        perms63=[[63, "world", "anyone"]],
        perms_neg=[[-1, "world", "anyone"]],
        good_then_bad=OPEN + [[31, "nope", "x"]],
        dup=OPEN + OPEN,
        two_perms=[[1, "world", "anyone"], [2, "world", "anyone"]],
        empty_scheme=[[31, "", "x"]],
        upper=[[31, "WORLD", "anyone"]],
    )
    for name, a in bad.items():
        C(
            "acl",
            f"list {name}",
            cr("s0", "$/a", acl=a, tag="acl:" + name),
            q("s0", "getACL", "$/a", ordered=True, tag="acl:" + name),
            again if name in ("negative", "huge") else [],
            cr("s0", "$/b", op="create2"),
            q("s0", "setACL", "$/b", acl=a, tag="acl:" + name),
            again if name in ("negative", "huge") else [],
            q("s0", "getACL", "$/b", ordered=True, tag="acl:" + name),
            multi("s0", oc("$/m", acl=a), oc("$/m2"), tag="acl:" + name),
            through=True,
        )
    for name, bit in (("READ", 1), ("WRITE", 2), ("CREATE", 4), ("DELETE", 8), ("ADMIN", 16)):
        use = [
            q("s1", "getData", "$/p"),
            q("s1", "exists", "$/p"),
            q("s1", "getChildren", "$/p"),
            q("s1", "getChildren2", "$/p"),
            q("s1", "setData", "$/p", data=b"w"),
            cr("s1", "$/p/new"),
            q("s1", "delete", "$/p/kid"),
            q("s1", "getACL", "$/p"),
            q("s1", "setACL", "$/p", acl=world(31), version=99),
            q("s1", "sync", "$/p"),
            q("s1", "getAllChildrenNumber", "$/p"),
            multi("s1", o("check", "$/p", version=-1)),
            multi("s1", o("setData", "$/p", data=b"m")),
            multi("s1", oc("$/p/m")),
            multi("s1", o("delete", "$/p/new")),
            multi("s1", o("getData", "$/p"), o("getChildren", "$/p"), op="multiRead"),
            q("s1", "addWatch", "$/p", mode=0),
            q("s1", "delete", "$/p"),
        ]
        C(
            "acl",
            f"only {name} is granted",
            login("s0", "carol"),
            cr("s0", "$/p", acl=[[bit, "world", "anyone"], acl_d("carol")]),
            cr("s0", "$/p/kid"),
            use,
            s=2,
            through=True,
        )
        C(
            "acl",
            f"all but {name} is granted",
            login("s0", "carol"),
            cr("s0", "$/p", acl=[[31 & ~bit, "world", "anyone"], acl_d("carol")]),
            cr("s0", "$/p/kid"),
            use,
            s=2,
            through=True,
        )
    C(
        "acl",
        "NOAUTH or NONODE, BADVERSION, NOTEMPTY: which comes first",
        login("s0", "carol"),
        cr("s0", "$/p", acl=[acl_d("carol")]),
        cr("s0", "$/p/k"),
        [
            q("s1", "setData", "$/p", data=b"", version=9),
            q("s1", "delete", "$/p/k", version=9),
            q("s1", "delete", "$/p/none"),
            q("s1", "exists", "$/p/none"),
            q("s1", "getData", "$/p/none"),
            cr("s1", "$/p/k"),
            cr("s1", "$/p/none/x"),
            q("s1", "setACL", "$/p", acl=[]),
            q("s1", "setACL", "$/p", acl=OPEN, version=9),
            cr("s1", "$/p/x", acl=[]),
            cr("s1", "$/p/x", flags=99),
            q("s1", "delete", "$/p", version=9),
            q("s1", "setData", "$/p/none", data=b""),
        ],
        s=2,
        through=True,
    )
    C(
        "acl",
        "digest: masking, access, many users",
        login("s0", "alice"),
        cr("s0", "$/p", b"s", acl=[acl_d("alice"), acl_d("bob", 1)]),
        q("s0", "getACL", "$/p", ordered=True),
        q("s1", "getACL", "$/p"),
        login("s1", "bob"),
        q("s1", "getACL", "$/p", ordered=True),
        q("s1", "getData", "$/p"),
        q("s1", "setData", "$/p", data=b""),
        q("s1", "auth", scheme="digest", auth=b"alice:wrong"),
        q("s1", "setData", "$/p", data=b""),
        q("s1", "whoAmI"),
        login("s1", "alice"),
        q("s1", "setData", "$/p", data=b""),
        q("s1", "getACL", "$/p", ordered=True),
        s=2,
        through=True,
    )
    C(
        "acl",
        "masking with READ for the world",
        login("s0", "alice"),
        cr("s0", "$/p", acl=[[1, "world", "anyone"], acl_d("alice"), [31, "ip", "10.0.0.1"]]),
        q("s1", "getACL", "$/p", ordered=True),
        q("s0", "getACL", "$/p", ordered=True),
        s=2,
    )
    C(
        "acl",
        "auth scheme: expansion",
        cr("s0", "$/x", acl=[[31, "auth", ""]]),
        login("s0", "alice"),
        cr("s0", "$/a", acl=[[31, "auth", ""]]),
        q("s0", "getACL", "$/a"),
        login("s0", "bob"),
        cr("s0", "$/b", acl=[[3, "auth", "ignored"]]),
        q("s0", "getACL", "$/b"),
        cr("s0", "$/c", acl=[[1, "world", "anyone"], [31, "auth", ""], acl_d("carol")]),
        q("s0", "getACL", "$/c"),
        q("s0", "setACL", "$/c", acl=[[31, "auth", ""]]),
        q("s1", "getData", "$/c"),
        login("s1", "bob"),
        q("s1", "getData", "$/c"),
        s=2,
        through=True,
    )
    C(
        "acl",
        "setACL: aversion",
        cr("s0", "$/a"),
        [q("s0", "setACL", "$/a", acl=OPEN, version=v) for v in (0, 0, 1, -1, 3, 9, -2)],
        q("s0", "setData", "$/a", data=b"", version=0),
        q("s0", "exists", "$/a"),
        q("s0", "getACL", "$/a"),
        q("s0", "setACL", "$/none", acl=OPEN),
        through=True,
    )
    C(
        "acl",
        "ip identity",
        cr("s0", "$/a", acl=[[31, "ip", "127.0.0.1"]]),
        cr("s0", "$/b", acl=[[31, "ip", "127.0.0.0/24"]]),
        cr("s0", "$/c", acl=[[31, "ip", "10.0.0.1"]]),
        cr("s0", "$/d", acl=[[31, "ip", "126.0.0.0/7"]]),
        [q("s0", op, f"$/{n}") for n in "abcd" for op in ("getData", "setData")],
        through=True,
    )
    C(
        "acl",
        "taking away one's own rights",
        cr("s0", "$/p"),
        cr("s0", "$/p/k"),
        q("s0", "setACL", "$/p", acl=world(1)),
        cr("s0", "$/p/x"),
        q("s0", "delete", "$/p/k"),
        q("s0", "setData", "$/p/k", data=b"still"),
        q("s0", "setACL", "$/p", acl=OPEN),
        q("s0", "delete", "$/p"),
        cr("s0", "$/p/k/deeper"),
        through=True,
    )
    for name, st in [
        ("digest", login("s0", "alice")),
        ("digest without colon", q("s0", "auth", scheme="digest", auth=b"alice")),
        ("digest empty", q("s0", "auth", scheme="digest", auth=b"")),
        ("digest null", q("s0", "auth", scheme="digest", auth=None)),
        ("digest two colons", q("s0", "auth", scheme="digest", auth=b"a:b:c")),
        ("digest not UTF-8", q("s0", "auth", scheme="digest", auth=b"\xff:\xfe")),
        ("ip", q("s0", "auth", scheme="ip", auth=b"1.2.3.4")),
        ("world", q("s0", "auth", scheme="world", auth=b"anyone")),
        ("auth", q("s0", "auth", scheme="auth", auth=b"")),
        ("unknown", q("s0", "auth", scheme="nope", auth=b"x")),
        ("empty scheme", q("s0", "auth", scheme="", auth=b"x")),
        ("null scheme", q("s0", "auth", scheme=None, auth=b"x")),
        ("sasl", q("s0", "auth", scheme="sasl", auth=b"x")),
        ("x509", q("s0", "auth", scheme="x509", auth=b"x")),
        ("super", q("s0", "auth", scheme="super", auth=b"x")),
        ("type 7", q("s0", "auth", scheme="digest", auth=b"alice:a1", atype=7)),
        ("normal xid", q("s0", "auth", scheme="digest", auth=b"alice:a1", xid=5)),
        ("cut", q("s0", "auth", scheme="digest", auth=b"alice:a1", cut=3)),
        ("no body", q("s0", "auth", body=b"", tag="no body")),
    ]:
        C(
            "auth",
            name,
            st,
            q("s0", "whoAmI"),
            q("s0", "connect", sid="@self", passwd="@self"),
            q("s0", "whoAmI"),
            through=True,
        )
    C(
        "auth",
        "failure closes, ephemerals stay",
        cr("s0", "$/e", flags=1),
        q("s0", "auth", scheme="nope", auth=b""),
        q("s1", "exists", "$/e"),
        q("s0", "connect", sid="@self", passwd="@self"),
        q("s0", "getEphemerals", "$"),
        s=2,
    )
    C(
        "auth",
        "sasl without a configuration",
        q("s0", "sasl", token=b""),
        q("s0", "connect"),
        q("s0", "sasl", token=b"abc"),
        q("s0", "connect"),
        q("s0", "sasl", token=None),
        through=True,
    )
    if superauth:
        C(
            "auth",
            "super user",
            login("s1", "alice"),
            cr("s1", "$/p", acl=[[1, *acl_d("alice")[1:]]]),
            q("s0", "getData", "$/p"),
            q("s0", "auth", scheme="digest", auth=superauth.encode()),
            q("s0", "whoAmI"),
            q("s0", "getData", "$/p"),
            q("s0", "getACL", "$/p"),
            cr("s0", "$/p/k"),
            q("s0", "setACL", "$/p", acl=[[31, "auth", ""]]),
            q("s0", "getACL", "$/p"),
            q("s0", "setData", "/zookeeper/config", data=b"", version=99),
            q("s0", "delete", "/zookeeper/config"),
            q("s0", "delete", "/zookeeper"),
            q("s0", "delete", "/"),
            q("s0", "reconfig", leaving="1"),
            s=2,
            through=True,
        )

    # ---- multi
    good = [
        oc("$/m1", b"1"),
        oc("$/m1/k", op="create2"),
        o("setData", "$/m1", data=b"2", version=0),
        o("check", "$/m1", version=1),
        oc("$/m2", op="createContainer", flags=4),
        oc("$/m3", op="createTTL", flags=5, ttl=3600000),
        oc("$/m4", flags=1),
        oc("$/m1/s", flags=2),
        o("delete", "$/m1/k", version=-1),
    ]
    C(
        "multi",
        "all kinds in one",
        multi("s0", *good),
        q("s0", "getChildren2", "$"),
        q("s0", "getChildren2", "$/m1"),
        q("s0", "getEphemerals", "$"),
        q("s0", "getData", "$/m1"),
    )
    fails = [
        ("create-exists", oc("$/a"), -110),
        ("create-noparent", oc("$/none/x"), 0),
        ("create-ephparent", oc("$/e/x"), 0),
        ("create-badacl", oc("$/z", acl=[]), 0),
        ("create-badflags", oc("$/z", flags=9), 0),
        ("create-badpath", oc("$/z/"), 0),
        ("create2-exists", oc("$/a", op="create2"), 0),
        ("container-exists", oc("$/a", op="createContainer", flags=4), 0),
        ("ttl-bad", oc("$/z", op="createTTL", flags=5, ttl=0), 0),
        ("delete-none", o("delete", "$/none"), 0),
        ("delete-notempty", o("delete", "$/a"), 0),
        ("delete-version", o("delete", "$/a/k", version=4), 0),
        ("set-none", o("setData", "$/none", data=b""), 0),
        ("set-version", o("setData", "$/a", data=b"", version=4), 0),
        ("check-none", o("check", "$/none"), 0),
        ("check-version", o("check", "$/a", version=4), 0),
        ("set-noauth", o("setData", "$/ro", data=b""), 0),
        ("create-noauth", oc("$/ro/x"), 0),
        ("check-noauth", o("check", "$/wo"), 0),
        ("delete-noauth", o("delete", "$/ro/k"), 0),
    ]
    setup = [
        cr("s0", "$/a"),
        cr("s0", "$/a/k"),
        cr("s0", "$/e", flags=1),
        login("s0", "carol"),
        cr("s0", "$/ro", acl=[acl_d("carol"), [1, "world", "anyone"]]),
        cr("s0", "$/ro/k"),
        cr("s0", "$/wo", acl=[acl_d("carol"), [2, "world", "anyone"]]),
    ]
    for name, bad_op, _ in fails:
        C(
            "multi",
            f"fails at every place: {name}",
            setup,
            [multi("s1", *(good[:k] + [bad_op] + good[k:]), tag=name) for k in (0, 1, 4, len(good))],
            multi("s1", bad_op, tag=name),
            multi("s1", bad_op, bad_op, tag=name),
            q("s1", "getChildren2", "$"),
            multi("s1", *good),
            q("s1", "getChildren2", "$"),
            s=2,
            through=True,
        )
    C("multi", "empty", multi("s0"), multi("s0", op="multiRead"), q("s0", "ping"), through=True)
    C(
        "multi",
        "create and delete the same node",
        multi("s0", oc("$/x"), o("delete", "$/x")),
        q("s0", "exists", "$"),
        multi("s0", oc("$/x"), o("delete", "$/x"), oc("$/x", b"2"), o("setData", "$/x", data=b"3", version=0)),
        q("s0", "getData", "$/x"),
        multi(
            "s0", o("delete", "$/x"), oc("$/x", flags=1), o("delete", "$/x"), oc("$/x", op="createContainer", flags=4)
        ),
        q("s0", "getData", "$/x"),
        q("s0", "getEphemerals", "$"),
        q("s0", "exists", "$"),
    )
    C(
        "multi",
        "versions inside",
        cr("s0", "$/x"),
        multi(
            "s0",
            o("setData", "$/x", data=b"1", version=0),
            o("setData", "$/x", data=b"2", version=1),
            o("check", "$/x", version=2),
            o("setData", "$/x", data=b"3", version=-1),
        ),
        multi("s0", o("setData", "$/x", data=b"1", version=3), o("setData", "$/x", data=b"2", version=3)),
        q("s0", "getData", "$/x"),
        multi("s0", oc("$/x/k"), o("delete", "$/x")),
        multi("s0", oc("$/y"), oc("$/y/k"), o("delete", "$/y/k"), o("delete", "$/y")),
        q("s0", "exists", "$"),
    )
    C(
        "multi",
        "failed ones leave nothing behind",
        cr("s0", "$/x"),
        multi("s0", oc("$/x/a"), o("setData", "$/x", data=b"9"), o("delete", "$/none")),
        q("s0", "exists", "$/x"),
        q("s0", "setData", "$/x", data=b"1", version=0),
        multi("s0", o("delete", "$/x"), o("check", "$/x")),
        q("s0", "exists", "$/x"),
        cr("s0", "$/x/e", flags=1),
        multi("s0", o("delete", "$/x/e"), o("check", "$/none")),
        q("s0", "getEphemerals", "$"),
        multi("s0", oc("$/x/e2", flags=1), o("check", "$/none")),
        q("s0", "getEphemerals", "$"),
        q("s0", "getChildren2", "$/x"),
    )
    C(
        "multi",
        "watches fire per part, in order, with one zxid",
        cr("s0", "$/x"),
        [
            q("s1", op, p, watch=True)
            for op, p in (("getData", "$/x"), ("getChildren", "$/x"), ("exists", "$/y"), ("getChildren", "$"))
        ],
        q("s0", "getData", "$/x", watch=True),
        q("s2", "addWatch", "$", mode=1),
        q("s3", "addWatch", "$/x", mode=0),
        multi(
            "s0",
            oc("$/x/k"),
            o("setData", "$/x", data=b"1"),
            oc("$/y"),
            o("setData", "$/x", data=b"2"),
            o("delete", "$/x/k"),
            o("delete", "$/x"),
        ),
        s=4,
    )
    C(
        "multi",
        "a failed one fires nothing",
        cr("s0", "$/x"),
        q("s1", "getData", "$/x", watch=True),
        q("s1", "addWatch", "$", mode=1),
        multi("s0", o("setData", "$/x", data=b"1"), o("check", "$/none")),
        q("s0", "setData", "$/x", data=b"2"),
        s=2,
    )
    for name, ops in (
        ("setACL", [oc("$/x"), dict(o("setACL", "$/x", acl=OPEN, version=-1))]),
        ("getData", [oc("$/x"), o("getData", "$")]),
        ("getChildren", [o("getChildren", "$"), oc("$/x")]),
        ("exists", [o("exists", "$")]),
        ("sync", [o("sync", "$")]),
        ("nested multi", [o("multi", ops=[])]),
        ("ping", [o("ping")]),
        ("closeSession", [o("closeSession")]),
        ("create with type 99", [oc("$/x", mtype=99)]),
        ("type -1 that is not done", [oc("$/x", mtype=-1)]),
        ("done on the first header", [oc("$/x", done=True)]),
        ("err 0 in the header", [oc("$/x", merr=0)]),
        ("deleteContainer", [o("deleteContainer", "$")]),
        ("createSession", [o("whoAmI", mtype=-10)]),
    ):
        C(
            "multi",
            f"refused part: {name}",
            multi("s0", *ops, tag=name),
            q("s0", "getChildren", "$"),
            again,
            multi("s0", *ops, op="multiRead", tag=name),
            q("s0", "ping"),
            through=True,
        )
    C(
        "multi",
        "footers",
        multi("s0", oc("$/x"), nofoot=1, tag="no footer"),
        again,
        multi("s0", oc("$/y"), ftype=5, tag="footer type 5"),
        multi("s0", oc("$/z"), fdone=False, tag="footer not done"),
        q("s0", "getChildren", "$"),
        again,
        multi("s0", oc("$/w"), pad=b"junk", tag="junk after"),
        q("s0", "getChildren", "$"),
        through=True,
    )
    for op in ("create", "delete", "setData", "check"):
        C(
            "multi",
            f"{op} cut short",
            [
                x
                for n in (1, 4, 9, 13)
                for x in (
                    multi("s0", oc("$/x"), o(op, "$/q", data=b"d"), cut=n + 9, tag=f"{op},cut"),
                    q("s0", "getChildren", "$"),
                    again,
                )
            ],
            through=True,
        )
    C(
        "multi",
        "200 creates, 200 deletes",
        multi("s0", *[oc(f"$/n{i:03d}") for i in range(200)]),
        q("s0", "getAllChildrenNumber", "$"),
        q("s0", "exists", "$"),
        multi("s0", *[o("delete", f"$/n{i:03d}") for i in range(200)]),
        q("s0", "exists", "$"),
    )
    C(
        "multiRead",
        "mixed results",
        cr("s0", "$/a", b"1"),
        cr("s0", "$/a/k"),
        login("s0", "carol"),
        cr("s0", "$/p", b"s", acl=[acl_d("carol")]),
        multi(
            "s1",
            o("getData", "$/a"),
            o("getData", "$/none"),
            o("getChildren", "$/a"),
            o("getChildren", "$/none"),
            o("getData", "$/p"),
            o("getChildren", "$/p"),
            o("getData", "$/a/k"),
            op="multiRead",
        ),
        multi("s1", o("getData", "$/none"), op="multiRead"),
        s=2,
    )
    C(
        "multiRead",
        "watch flags inside",
        cr("s0", "$/a", b"1"),
        multi("s0", o("getData", "$/a", watch=True), o("getChildren", "$/a", watch=True), op="multiRead"),
        q("s0", "checkWatches", "$/a", watcher=2),
        q("s0", "checkWatches", "$/a", watcher=1),
        cr("s0", "$/a/k"),
        q("s0", "setData", "$/a", data=b"2"),
        through=True,
    )

    # ---- watches
    arms = {
        "exists": lambda s, p: q(s, "exists", p, watch=True),
        "getData": lambda s, p: q(s, "getData", p, watch=True),
        "getChildren": lambda s, p: q(s, "getChildren", p, watch=True),
        "getChildren2": lambda s, p: q(s, "getChildren2", p, watch=True),
        "persistent": lambda s, p: q(s, "addWatch", p, mode=0),
        "recursive": lambda s, p: q(s, "addWatch", p, mode=1),
    }
    triggers = {
        "create": [cr("s0", "$/w/k")],
        "create2": [cr("s0", "$/w/k", op="create2")],
        "sequential": [cr("s0", "$/w/k", flags=2)],
        "ephemeral": [cr("s0", "$/w/k", flags=1), q("s0", "closeSession")],
        "container": [cr("s0", "$/w/k", op="createContainer", flags=4)],
        "ttl": [cr("s0", "$/w/k", op="createTTL", flags=5, ttl=3600000)],
        "setData": [q("s0", "setData", "$/w", data=b"1")],
        "setACL": [q("s0", "setACL", "$/w", acl=OPEN)],
        "child setData": [q("s0", "setData", "$/w/old", data=b"1")],
        "child delete": [q("s0", "delete", "$/w/old")],
        "delete": [q("s0", "delete", "$/w/old"), q("s0", "delete", "$/w")],
        "grandchild": [
            cr("s0", "$/w/old/g"),
            q("s0", "setData", "$/w/old/g", data=b""),
            q("s0", "delete", "$/w/old/g"),
        ],
        "failed": [
            cr("s0", "$/w"),
            q("s0", "setData", "$/w", data=b"", version=9),
            q("s0", "delete", "$/w"),
            q("s0", "delete", "$/w/none"),
        ],
        "sync": [q("s0", "sync", "$/w")],
        "multi": [multi("s0", o("setData", "$/w", data=b"1"), oc("$/w/k"), o("delete", "$/w/k"))],
    }
    for an, arm in arms.items():
        for tn, tr in triggers.items():
            C(
                "watch",
                f"{an} x {tn}",
                cr("s0", "$/w"),
                cr("s0", "$/w/old"),
                arm("s1", "$/w"),
                tr,
                [q("s2", "setData", "$/w", data=b"2"), cr("s2", "$/w/k2"), q("s2", "delete", "$/w/k2")],
                [q("s1", "checkWatches", "$/w", watcher=t) for t in (1, 2, 3, 4, 5)],
                s=3,
            )
    for an in ("exists", "persistent", "recursive"):
        C(
            "watch",
            f"{an} on a missing node",
            arms[an]("s1", "$/w"),
            cr("s0", "$/w"),
            q("s0", "setData", "$/w", data=b"1"),
            cr("s0", "$/w/k"),
            q("s0", "delete", "$/w/k"),
            q("s0", "delete", "$/w"),
            cr("s0", "$/w", flags=1),
            q("s0", "closeSession"),
            s=2,
        )
    for an in ("getData", "getChildren"):
        C(
            "watch",
            f"{an} on a missing node sets none",
            arms[an]("s1", "$/w"),
            cr("s0", "$/w"),
            q("s0", "setData", "$/w", data=b"1"),
            cr("s0", "$/w/k"),
            q("s1", "checkWatches", "$/w", watcher=3),
            s=2,
        )
    C(
        "watch",
        "one event for a delete with data and child watches",
        cr("s0", "$/w"),
        q("s1", "exists", "$/w", watch=True),
        q("s1", "getData", "$/w", watch=True),
        q("s1", "getChildren", "$/w", watch=True),
        q("s1", "getChildren", "$", watch=True),
        q("s0", "delete", "$/w"),
        q("s1", "checkWatches", "$/w"),
        s=2,
    )
    C(
        "watch",
        "setting the same watch many times fires once",
        cr("s0", "$/w"),
        [q("s1", "getData", "$/w", watch=True)] * 3,
        [q("s1", "exists", "$/w", watch=True)] * 2,
        q("s0", "setData", "$/w", data=b"1"),
        q("s0", "setData", "$/w", data=b"2"),
        s=2,
    )
    C(
        "watch",
        "without the flag none is set, nor removed",
        cr("s0", "$/w"),
        q("s1", "getData", "$/w"),
        q("s0", "setData", "$/w", data=b"1"),
        q("s1", "getData", "$/w", watch=True),
        q("s1", "getData", "$/w"),
        q("s0", "setData", "$/w", data=b"2"),
        s=2,
    )
    C(
        "watch",
        "the writer's own watch comes before its reply",
        cr("s0", "$/w"),
        q("s0", "getData", "$/w", watch=True),
        q("s0", "getChildren", "$", watch=True),
        q("s0", "setData", "$/w", data=b"1"),
        cr("s0", "$/x"),
        q("s0", "addWatch", "$", mode=1),
        cr("s0", "$/y"),
        q("s0", "delete", "$/y"),
    )
    C(
        "watch",
        "event before a reply that shows the change",
        cr("s0", "$/w", b"0"),
        q("s1", "getData", "$/w", watch=True),
        q("s0", "setData", "$/w", data=b"1", nofence=1),
        q("s1", "getData", "$/w"),
        q("s1", "getChildren", "$", watch=True),
        cr("s0", "$/n", nofence=1),
        q("s1", "getChildren", "$"),
        s=2,
    )
    C(
        "watch",
        "persistent and one-shot together",
        cr("s0", "$/w"),
        q("s1", "addWatch", "$/w", mode=0),
        q("s1", "getData", "$/w", watch=True),
        q("s1", "getChildren", "$/w", watch=True),
        q("s0", "setData", "$/w", data=b"1"),
        q("s0", "setData", "$/w", data=b"2"),
        cr("s0", "$/w/k"),
        cr("s0", "$/w/k2"),
        q("s1", "removeWatches", "$/w", watcher=4),
        q("s0", "setData", "$/w", data=b"3"),
        [q("s1", "checkWatches", "$/w", watcher=t) for t in (1, 2, 3, 4, 5)],
        s=2,
        through=True,
    )
    C(
        "watch",
        "recursive and one-shot child watch together",
        cr("s0", "$/w"),
        q("s1", "addWatch", "$", mode=1),
        q("s1", "getChildren", "$/w", watch=True),
        q("s1", "exists", "$/w/k", watch=True),
        cr("s0", "$/w/k"),
        cr("s0", "$/w/k2"),
        q("s0", "delete", "$/w/k"),
        s=2,
    )
    C(
        "watch",
        "persistent replaced by recursive and back",
        cr("s0", "$/w"),
        q("s1", "addWatch", "$/w", mode=0),
        q("s1", "addWatch", "$/w", mode=1),
        cr("s0", "$/w/k"),
        [q("s1", "checkWatches", "$/w", watcher=t) for t in (1, 2, 3, 4, 5)],
        q("s1", "addWatch", "$/w", mode=0),
        cr("s0", "$/w/k2"),
        q("s0", "setData", "$/w/k2", data=b"1"),
        [q("s1", "checkWatches", "$/w", watcher=t) for t in (1, 2, 3, 4, 5)],
        s=2,
        through=True,
    )
    C(
        "watch",
        "recursive at several levels, and at the root of the script",
        cr("s0", "$/w"),
        q("s1", "addWatch", "$", mode=1),
        q("s1", "addWatch", "$/w", mode=1),
        q("s1", "addWatch", "$/w/k", mode=0),
        cr("s0", "$/w/k"),
        q("s0", "setData", "$/w/k", data=b"1"),
        cr("s0", "$/w/k/g"),
        cr("s0", "$/ww"),
        q("s0", "delete", "$/w/k/g"),
        q("s0", "delete", "$/w/k"),
        s=2,
    )
    C(
        "watch",
        "recursive on / and on a prefix of a name",
        q("s1", "addWatch", "/", mode=1),
        q("s2", "addWatch", "$/w", mode=1),
        cr("s0", "$/w"),
        cr("s0", "$/wx"),
        cr("s0", "$/w/x"),
        s=3,
    )
    C(
        "watch",
        "persistent survives delete and create",
        q("s1", "addWatch", "$/w", mode=0),
        [x for _ in range(3) for x in (cr("s0", "$/w"), q("s0", "delete", "$/w"))],
        s=2,
    )
    for m in (2, -1, 3, 100):
        C("watch", f"addWatch mode {m}", q("s0", "addWatch", "$/w", mode=m), cr("s0", "$/w"), q("s0", "ping"))
    for t in (0, 1, 2, 3, 4, 5, 6, -1, 99):
        for an in ("exists", "getChildren", "persistent", "recursive"):
            C(
                "watch",
                f"check and remove type {t}, {an}",
                cr("s0", "$/w"),
                arms[an]("s0", "$/w"),
                q("s0", "checkWatches", "$/w", watcher=t),
                q("s0", "removeWatches", "$/w", watcher=t),
                q("s0", "removeWatches", "$/w", watcher=t),
                q("s1", "setData", "$/w", data=b"1"),
                cr("s1", "$/w/k"),
                s=2,
                through=True,
            )
    for t in (0, 6, -1, 99):
        C(
            "watch",
            f"remove alone, type {t}",
            cr("s0", "$/w"),
            arms["exists"]("s0", "$/w"),
            q("s0", "removeWatches", "$/w", watcher=t),
            q("s1", "setData", "$/w", data=b"1"),
            q("s0", "ping"),
            s=2,
            through=True,
        )
    C(
        "watch",
        "remove: another session's watch, another path",
        cr("s0", "$/w"),
        q("s0", "getData", "$/w", watch=True),
        q("s1", "removeWatches", "$/w", watcher=3),
        q("s1", "checkWatches", "$/w", watcher=3),
        q("s0", "removeWatches", "$/x", watcher=3),
        q("s0", "removeWatches", "$", watcher=3),
        q("s1", "setData", "$/w", data=b"1"),
        s=2,
        through=True,
    )
    C(
        "watch",
        "remove Any takes all kinds",
        cr("s0", "$/w"),
        q("s0", "getData", "$/w", watch=True),
        q("s0", "getChildren", "$/w", watch=True),
        q("s0", "addWatch", "$/w", mode=1),
        q("s0", "removeWatches", "$/w", watcher=3),
        q("s1", "setData", "$/w", data=b"1"),
        cr("s1", "$/w/k"),
        s=2,
    )
    C(
        "watch",
        "remove Data leaves Children and persistent",
        cr("s0", "$/w"),
        q("s0", "getData", "$/w", watch=True),
        q("s0", "getChildren", "$/w", watch=True),
        q("s0", "addWatch", "$/w", mode=0),
        q("s0", "removeWatches", "$/w", watcher=2),
        q("s0", "removeWatches", "$/w", watcher=1),
        q("s0", "checkWatches", "$/w", watcher=4),
        q("s1", "setData", "$/w", data=b"1"),
        cr("s1", "$/w/k"),
        s=2,
        through=True,
    )
    C(
        "watch",
        "remove needs no right to read",
        login("s1", "alice"),
        cr("s0", "$/p"),
        q("s0", "getData", "$/p", watch=True),
        q("s0", "setACL", "$/p", acl=[acl_d("alice")]),
        q("s0", "removeWatches", "$/p", watcher=2),
        q("s1", "setData", "$/p", data=b""),
        s=2,
    )
    C(
        "watch",
        "ephemeral removal on closeSession",
        [cr("s0", f"$/e{i}", flags=1) for i in range(3)],
        cr("s0", "$/d"),
        cr("s0", "$/d/e", flags=1),
        q("s1", "addWatch", "$", mode=1),
        q("s2", "exists", "$/e1", watch=True),
        q("s2", "getChildren", "$", watch=True),
        q("s2", "getChildren", "$/d", watch=True),
        q("s3", "addWatch", "$/e0", mode=0),
        q("s3", "addWatch", "$/d", mode=0),
        q("s0", "closeSession"),
        q("s1", "getChildren2", "$"),
        q("s1", "getChildren2", "$/d"),
        s=4,
    )
    C(
        "watch",
        "closing session's own watches",
        cr("s0", "$/e", flags=1),
        q("s0", "exists", "$/e", watch=True),
        q("s0", "getChildren", "$", watch=True),
        q("s0", "closeSession"),
        q("s1", "exists", "$/e"),
        s=2,
    )
    C(
        "watch",
        "another session's delete of an ephemeral",
        cr("s0", "$/e", flags=1),
        q("s0", "exists", "$/e", watch=True),
        q("s1", "delete", "$/e"),
        q("s0", "getEphemerals", "$"),
        q("s0", "closeSession"),
        s=2,
    )
    ro = [acl_d("carol")]
    C(
        "watch",
        "events are withheld without READ on the node",
        login("s0", "carol"),
        cr("s0", "$/p"),
        q("s1", "getData", "$/p", watch=True),
        q("s1", "getChildren", "$/p", watch=True),
        q("s1", "addWatch", "$", mode=1),
        q("s1", "addWatch", "$/p", mode=0),
        q("s0", "setACL", "$/p", acl=ro),
        q("s0", "setData", "$/p", data=b"1"),
        cr("s0", "$/p/k", acl=ro),
        cr("s0", "$/p/open"),
        q("s0", "delete", "$/p/open"),
        q("s0", "delete", "$/p/k"),
        q("s0", "setACL", "$/p", acl=OPEN),
        q("s0", "setData", "$/p", data=b"2"),
        q("s1", "checkWatches", "$/p", watcher=2),
        q("s0", "setACL", "$/p", acl=ro),
        q("s0", "delete", "$/p"),
        s=2,
    )
    C(
        "watch",
        "create with a closed ACL",
        login("s0", "carol"),
        q("s1", "exists", "$/p", watch=True),
        q("s1", "getChildren", "$", watch=True),
        q("s2", "addWatch", "$", mode=1),
        q("s2", "addWatch", "$/p", mode=0),
        cr("s0", "$/p", acl=ro),
        q("s1", "checkWatches", "$/p", watcher=3),
        q("s0", "delete", "$/p"),
        login("s1", "carol"),
        q("s1", "exists", "$/p", watch=True),
        cr("s0", "$/p", acl=ro),
        s=3,
    )
    C(
        "watch",
        "child events need READ on the parent",
        login("s0", "carol"),
        cr("s0", "$/p"),
        q("s1", "getChildren", "$/p", watch=True),
        q("s1", "addWatch", "$/p", mode=0),
        q("s0", "setACL", "$/p", acl=ro),
        cr("s0", "$/p/open"),
        q("s1", "exists", "$/p/open", watch=True),
        q("s0", "delete", "$/p/open"),
        s=2,
    )
    C(
        "watch",
        "exists needs READ once the node is there",
        login("s0", "carol"),
        q("s1", "exists", "$/p", watch=True),
        cr("s0", "$/p", acl=ro),
        q("s1", "exists", "$/p", watch=True),
        q("s1", "checkWatches", "$/p"),
        q("s0", "setACL", "$/p", acl=OPEN),
        q("s0", "setData", "$/p", data=b"1"),
        s=2,
    )

    # ---- setWatches
    names = ["$/same", "$/changed", "$/gone", "$/new", "$/none", "$/kids", "$/kidless"]
    prep = [cr("s0", p) for p in ("$/same", "$/changed", "$/gone", "$/kids", "$/kidless")] + [
        cr("s0", "$/kidless/k"),
        dict(op="mark", name="m"),
        q("s0", "setData", "$/changed", data=b"1"),
        q("s0", "delete", "$/gone"),
        cr("s0", "$/new"),
        cr("s0", "$/kids/k"),
        q("s0", "delete", "$/kidless/k"),
    ]
    after = [
        x for p in names for x in (q("s0", "setData", p, data=b"z"), cr("s0", p + "/z"), q("s0", "delete", p + "/z"))
    ] + [cr("s0", "$/none"), cr("s0", "$/gone")]
    for op in ("setWatches", "setWatches2"):
        for k in ("data", "exist", "child") + (("pers", "rec") if op == "setWatches2" else ()):
            C(
                "setWatches",
                f"{op}: {k}",
                prep,
                q("s1", op, rel={"mark": "m"}, **{k: names}),
                [q("s1", "checkWatches", p, watcher=3) for p in names],
                after,
                s=2,
                through=True,
            )
        C(
            "setWatches",
            f"{op}: all lists, order of events",
            prep,
            q(
                "s1",
                op,
                rel={"mark": "m"},
                data=names,
                exist=names,
                child=names,
                **(dict(pers=names[:2], rec=["$"]) if op == "setWatches2" else {}),
            ),
            after,
            s=2,
        )
        C(
            "setWatches",
            f"{op}: relativeZxid 0, far ahead, negative",
            cr("s0", "$/a"),
            [
                q("s1", op, rel=r, data=["$/a"], exist=["$/a", "$/n"], child=["$/a"])
                for r in (0, (1 << 62), -1, {"plus": 0}, {"plus": -1})
            ],
            q("s0", "setData", "$/a", data=b""),
            cr("s0", "$/a/k"),
            s=2,
        )
        C(
            "setWatches",
            f"{op}: null and empty lists",
            *[q("s1", op, rel=0, **{k: v for k in ("data", "exist", "child", "pers", "rec")}) for v in (None, [])],
            q("s1", "ping"),
            s=2,
            through=True,
        )
        C(
            "setWatches",
            f"{op}: with another xid",
            cr("s0", "$/a"),
            q("s1", op, rel={"plus": 0}, data=["$/a"], xid=77),
            q("s0", "setData", "$/a", data=b""),
            s=2,
        )
    C(
        "setWatches",
        "exactly at the boundary",
        cr("s0", "$/a"),
        dict(op="mark", name="m"),
        q("s1", "setWatches", rel={"mark": "m"}, data=["$/a"], child=["$/a"]),
        q("s1", "setWatches", rel={"mark": "m", "plus": -1}, data=["$/a"], child=["$/a"]),
        q("s0", "setData", "$/a", data=b"1"),
        s=2,
    )
    C(
        "setWatches",
        "without READ",
        login("s0", "carol"),
        cr("s0", "$/p", acl=ro),
        cr("s0", "$/q", acl=ro),
        q("s1", "setWatches", rel=0, data=["$/p"], exist=["$/q"], child=["$/p"]),
        q("s1", "setWatches", rel={"plus": 0}, data=["$/p"], exist=["$/none"], child=["$/p"]),
        q("s0", "setData", "$/p", data=b"1"),
        cr("s0", "$/p/k"),
        q("s0", "setACL", "$/p", acl=OPEN),
        q("s0", "setData", "$/p", data=b"2"),
        s=2,
    )
    C(
        "setWatches",
        "the client's way: drop, miss, reattach, re-arm",
        cr("s0", "$/a"),
        q("s1", "getData", "$/a", watch=True),
        q("s1", "getChildren", "$/a", watch=True),
        q("s1", "exists", "$/b", watch=True),
        q("s1", "addWatch", "$", mode=1),
        dict(op="mark", name="m"),
        q("s1", "drop"),
        q("s0", "setData", "$/a", data=b"1"),
        cr("s0", "$/b"),
        q("s1", "connect", sid="@self", passwd="@self", last={"mark": "m"}),
        q("s1", "setWatches2", rel={"mark": "m"}, data=["$/a"], exist=["$/b"], child=["$/a"], rec=["$"]),
        cr("s0", "$/a/k"),
        q("s0", "delete", "$/a/k"),
        s=2,
    )

    # ---- sessions
    C(
        "session",
        "closeSession: reply, then the end; deletes ephemerals only",
        cr("s0", "$/e", flags=1),
        cr("s0", "$/p"),
        cr("s0", "$/c", op="createContainer", flags=4),
        q("s0", "closeSession"),
        q("s0", "ping"),
        q("s1", "getChildren2", "$"),
        q("s1", "exists", "$"),
        s=2,
    )
    C(
        "session",
        "closeSession with the xid of ClickHouse's client",
        q("s0", "closeSession", xid=0x7FFFFFFF),
        q("s1", "ping"),
        s=2,
    )
    C("session", "closeSession with a body", q("s0", "closeSession", pad=b"abc"), q("s1", "ping"), s=2)
    C(
        "session",
        "two connections, two sessions: ephemerals apart",
        cr("s0", "$/x", flags=1),
        cr("s1", "$/y", flags=1),
        q("s0", "closeSession"),
        q("s1", "getChildren", "$"),
        q("s1", "getEphemerals", "$"),
        s=2,
    )
    C(
        "session",
        "close after a take-over",
        cr("s0", "$/x", flags=1),
        q("t", "connect", sid="@s0", passwd="@s0"),
        q("t", "closeSession"),
        q("s1", "exists", "$/x"),
        q("s0", "connect", sid="@self", passwd="@self"),
        s=2,
    )
    C(
        "session",
        "xids: 0, large, negative, repeated",
        cr("s0", "$/a"),
        [q("s0", "exists", "$/a", xid=x) for x in (0, 0x7FFFFFFF, -0x80000000, -3, 5, 5, 1)],
        q("s0", "getData", "$/a", xid=-2),
        q("s0", "getData", "$/a", xid=-4),
        q("s0", "getData", "$/a", xid=-8),
        q("s0", "exists", "$/a", xid=-1),
        q("s0", "setData", "$/a", data=b"", xid=-2),
        through=True,
    )
    C(
        "session",
        "expiry removes ephemerals and fires watches",
        q("x", "connect", timeout=4000),
        cr("x", "$/e", flags=1),
        cr("x", "$/e2", flags=1),
        q("s0", "addWatch", "$", mode=1),
        q("s1", "exists", "$/e", watch=True),
        q("s1", "getChildren", "$", watch=True),
        q("x", "drop"),
        dict(s="s0", op="await", n=2, min=3.0, max=12, expires="x"),
        q("s0", "getChildren2", "$"),
        q("x", "connect", sid="@self", passwd="@self"),
        s=2,
    )
    C(
        "session",
        "pings keep a session alive",
        q("x", "connect", timeout=4000),
        cr("x", "$/e", flags=1),
        dict(op="sleep", secs=2.5),
        q("x", "ping"),
        dict(op="sleep", secs=2.5),
        q("x", "exists", "$/e"),
        q("x", "closeSession"),
        s=1,
    )
    C(
        "session",
        "a silent connected session expires and is closed",
        q("x", "connect", timeout=4000),
        cr("x", "$/e", flags=1),
        q("s0", "exists", "$/e", watch=True),
        q("x", "quiet"),
        dict(s="s0", op="await", n=1, min=3.0, max=12, expires="x"),
        q("x", "quiet", on=False),
        q("x", "ping"),
        q("x", "connect", sid="@self", passwd="@self"),
        s=1,
    )

    # ---- unknown and malformed requests
    for n in (
        0,
        -1,
        10,
        23,
        24,
        42,
        63,
        64,
        99,
        108,
        109,
        127,
        128,
        200,
        255,
        256,
        500,
        501,
        502,
        503,
        504,
        505,
        506,
        507,
        999,
        65536,
        0x7FFFFFFF,
        -0x80000000,
        -2,
        -9,
        -12,
        -100,
        -127,
    ):
        C(
            "unknown-op",
            f"op {n}",
            cr("s0", "$/e", flags=1),
            dict(s="s0", op="raw", type=n, body=b"\0\0\0\1/\0", tag=f"op={n}"),
            q("s1", "exists", "$/e"),
            q("s0", "connect", sid="@self", passwd="@self"),
            q("s0", "exists", "$/e"),
            s=2,
        )
    C(
        "unknown-op",
        "createSession (-10) from a client",
        dict(s="s0", op="raw", type=-10, body=struct.pack(">i", 5000), rawreply=True, tag="op=-10"),
        q("s1", "ping"),
        s=2,
    )
    for st in every_request():
        name = st["op"]
        prepared = [cr("s1", "$/a", b"1"), q("s1", "setWatches2", rel=0)]
        C(
            "malformed",
            f"{name}: body cut at each place",
            prepared,
            [x for k in range(0, 40, 3) for x in (dict(st, keep=k, tag=f"keep={k}"), q("s0", "connect", tag="after"))],
            [x for k in (1, 2, 4, 5, 8, 9) for x in (dict(st, cut=k, tag=f"cut={k}"), q("s0", "connect", tag="after"))],
            q("s1", "getChildren", "$"),
            s=2,
            through=True,
        )
        C(
            "malformed",
            f"{name}: more bytes than needed",
            prepared,
            dict(st, pad=b"\0"),
            q("s0", "ping"),
            dict(st, pad=b"\xff" * 50),
            q("s0", "ping"),
            q("s1", "getChildren", "$"),
            s=2,
            through=True,
        )
        C("malformed", f"{name}: in single bytes", prepared, dict(st, split=1), q("s0", "ping"), s=2, through=True)
        C(
            "malformed",
            f"{name}: length prefixes of the first string",
            prepared,
            [
                x
                for v in (-1, -2, 0, 1, 0x7FFFFFFF, -0x80000000, MAXBUF, MAXBUF + 1, 2 * MAXBUF + 1, 1 << 24)
                for x in (
                    dict(st, flip=[[i, b] for i, b in enumerate(struct.pack(">i", v))], tag=f"first int={v}"),
                    q("s0", "connect", tag="after"),
                )
            ]
            if st["op"] not in ("ping", "whoAmI")
            else [],
            q("s1", "getChildren", "$"),
            s=2,
            through=True,
        )
    vec = lambda n: {"count": n}
    C(
        "malformed",
        "vector counts",
        cr("s1", "$/a"),
        [
            x
            for n in (-1, -2, 1, 0x7FFFFFFF, -0x80000000, 1 << 20)
            for x in (
                cr("s0", "$/v", acl=vec(n), tag=f"acl count {n}"),
                q("s0", "connect", tag="after"),
                q("s0", "setACL", "$/a", acl=vec(n), tag=f"acl count {n}"),
                q("s0", "connect", tag="after"),
                q("s0", "setWatches", rel=0, data=vec(n), tag=f"data count {n}"),
                q("s0", "connect", tag="after"),
            )
        ],
        q("s1", "getChildren", "$"),
        s=2,
        through=True,
    )
    C(
        "malformed",
        "null data and ids",
        cr("s0", "$/a", None),
        q("s0", "setData", "$/a", data=None),
        q("s0", "getData", "$/a"),
        cr("s0", "$/b", acl=[[31, None, None]]),
        cr("s0", "$/b", acl=[[31, "world", None]]),
        cr("s0", "$/b", acl=[[31, None, "anyone"]]),
        q("s0", "getChildren", "$"),
        through=True,
    )

    # ---- sizes
    C(
        "large",
        "frames around jute.maxbuffer",
        cr("s0", "$/big"),
        [
            x
            for n in (MAXBUF - 1000, MAXBUF - 1, MAXBUF)
            for x in (q("s0", "setData", "$/big", data=b"", fill=n), q("s0", "getData", "$/big"))
        ],
        q("s0", "setData", "$/big", data=b"", fill=MAXBUF + 1),
        q("s1", "exists", "$/big"),
        again,
        q("s0", "getData", "$/big"),
        s=2,
        through=True,
    )
    C(
        "large",
        "answers larger than jute.maxbuffer",
        cr("s0", "$/b1", b""),
        cr("s0", "$/b2", b""),
        [q("s0", "setData", p, data=b"", fill=MAXBUF) for p in ("$/b1", "$/b2")],
        multi("s0", o("getData", "$/b1"), o("getData", "$/b2"), op="multiRead"),
        q("s0", "ping"),
    )
    C(
        "large",
        "many children",
        [multi("s0", *[oc(f"$/{'n' * 40}{j:02d}{i:04d}") for i in range(500)]) for j in range(4)],
        q("s0", "getChildren", "$"),
        q("s0", "getChildren2", "$"),
        q("s0", "getAllChildrenNumber", "$"),
        [multi("s0", *[o("delete", f"$/{'n' * 40}{j:02d}{i:04d}") for i in range(500)]) for j in range(4)],
    )
    C(
        "large",
        "one large frame in pieces",
        cr("s0", "$/a"),
        q("s0", "setData", "$/a", data=b"x" * 300000, split=7000),
        q("s0", "getData", "$/a"),
    )
    C(
        "large",
        "a path of 500,000 bytes",
        cr("s0", "$/" + "p" * 500000),
        q("s0", "exists", "$/" + "p" * 500000),
        q("s0", "delete", "$/" + "p" * 500000),
    )

    # ---- pipelining
    def burst(s, *reqs, **f):
        return dict(s=s, op="burst", reqs=list(reqs), **f)

    C(
        "burst",
        "writes and reads in one segment",
        burst(
            "s0",
            cr("s0", "$/a", b"1"),
            q("s0", "getData", "$/a"),
            q("s0", "setData", "$/a", data=b"2"),
            q("s0", "getData", "$/a"),
            q("s0", "exists", "$/none"),
            q("s0", "delete", "$/a"),
            q("s0", "getData", "$/a"),
            q("s0", "ping"),
            cr("s0", "$/a"),
            q("s0", "getChildren2", "$"),
        ),
    )
    C(
        "burst",
        "own watches between replies",
        cr("s0", "$/a"),
        burst(
            "s0",
            q("s0", "getData", "$/a", watch=True),
            q("s0", "setData", "$/a", data=b"1"),
            q("s0", "getData", "$/a", watch=True),
            q("s0", "getChildren", "$", watch=True),
            cr("s0", "$/b"),
            q("s0", "setData", "$/a", data=b"2"),
            q("s0", "addWatch", "$", mode=1),
            q("s0", "delete", "$/b"),
            cr("s0", "$/b"),
            q("s0", "ping"),
        ),
    )
    C(
        "burst",
        "200 creates, events to another session in order",
        q("s1", "addWatch", "$", mode=1),
        q("s1", "getChildren", "$", watch=True),
        burst("s0", *[cr("s0", f"$/n{i}") for i in range(200)]),
        q("s1", "getChildren2", "$"),
        s=2,
    )
    C(
        "burst",
        "reads, writes, failures, syncs, pings, auths mixed",
        burst(
            "s0",
            *[
                x
                for i in range(15)
                for x in (
                    cr("s0", f"$/n{i}"),
                    q("s0", "sync", "$"),
                    q("s0", "exists", f"$/n{i}"),
                    q("s0", "ping"),
                    cr("s0", f"$/n{i}"),
                    q("s0", "getData", "$/none"),
                    login("s0", "alice"),
                    q("s0", "whoAmI"),
                )
            ],
        ),
    )
    C(
        "burst",
        "auth takes effect for the requests behind it",
        cr("s1", "$/p", acl=[acl_d("alice")]),
        burst(
            "s0",
            q("s0", "exists", "$"),
            login("s0", "alice"),
            q("s0", "getData", "$/p"),
            q("s0", "setData", "$/p", data=b"1"),
        ),
        s=2,
    )
    C(
        "burst",
        "closeSession at the end",
        cr("s0", "$/e", flags=1),
        burst("s0", q("s0", "setData", "$/e", data=b"1"), q("s0", "getData", "$/e"), q("s0", "closeSession")),
        q("s1", "exists", "$/e"),
        s=2,
    )
    C(
        "burst",
        "in odd pieces",
        burst("s0", *[cr("s0", f"$/n{i}", b"x" * i) for i in range(20)], q("s0", "getChildren2", "$"), split=13),
    )
    C(
        "burst",
        "1000 pings and reads",
        burst("s0", *[q("s0", "ping") if i % 2 else q("s0", "getData", "$") for i in range(1000)]),
    )
    C(
        "burst",
        "sequential creates and multis",
        burst(
            "s0",
            *[
                x
                for i in range(10)
                for x in (
                    cr("s0", "$/s", flags=2),
                    multi("s0", oc("$/s", flags=2), oc("$/s", flags=2)),
                    multi("s0", oc("$/s", flags=2), o("check", "$/none")),
                    q("s0", "getChildren2", "$"),
                )
            ],
        ),
    )

    # ---- quota (soft)
    Q = "/zookeeper/quota$"

    def quota(path, text):
        return [
            cr("s0", "/zookeeper/quota" + path),
            cr("s0", "/zookeeper/quota" + path + "/zookeeper_limits", text),
            cr("s0", "/zookeeper/quota" + path + "/zookeeper_stats", b"count=0,bytes=0"),
        ]

    for name, text in (
        ("soft", b"count=2,bytes=10"),
        ("hard (not enforced by default)", b"count=2,bytes=10;byteHardLimit=10;countHardLimit=2"),
        ("garbage", b"whatever"),
    ):
        C(
            "quota",
            name,
            [dict(s="s0", op="create", path="/zookeeper/quota$TOP", data=b"", acl=OPEN, flags=0, tag="quota parent")],
            cr("s0", "$/q", b"12"),
            cr("s0", Q),
            quota("$/q", text),
            cr("s0", "$/q/a", b"0123456789"),
            cr("s0", "$/q/b", b"0123456789"),
            q("s0", "getData", Q + "/q/zookeeper_stats"),
            q("s0", "setData", "$/q", data=b"0123456789ABCDEF"),
            q("s0", "getData", Q + "/q/zookeeper_stats"),
            q("s0", "delete", "$/q/a"),
            q("s0", "getData", Q + "/q/zookeeper_stats"),
            q("s0", "getData", Q + "/q/zookeeper_limits"),
            q("s0", "exists", Q + "/q/zookeeper_stats"),
            through=True,
        )

    # ---- four letter words
    for w in (
        "ruok",
        "srvr",
        "stat",
        "cons",
        "conf",
        "envi",
        "dirs",
        "dump",
        "wchs",
        "wchc",
        "wchp",
        "mntr",
        "isro",
        "gtmk",
        "hash",
        "srst",
        "crst",
        "nope",
    ):
        C(
            "4lw",
            w,
            cr("s0", "$/e", flags=1),
            q("s0", "exists", "$/e", watch=True),
            q("s0", "addWatch", "$", mode=1),
            dict(op="4lw", word=w),
            s=2,
        )
    C(
        "4lw",
        "stmk",
        dict(op="4lw", word="stmk", extra=struct.pack(">q", 0x1FE)),
        dict(op="4lw", word="gtmk"),
        dict(op="4lw", word="stmk", extra=struct.pack(">q", 0x132)),
        through=True,
    )
    C(
        "4lw",
        "with bytes behind",
        dict(op="4lw", word="ruok", extra=b"\n"),
        dict(op="4lw", word="srvr", extra=b"\r\n"),
        dict(op="4lw", word="RUOK"),
        through=True,
    )
    return out
