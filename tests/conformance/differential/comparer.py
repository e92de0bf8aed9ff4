"""Compares two transcripts of one script, and prints steps and answers for people.

Each difference has a *kind*, a text such as `setData[version]: A BADVERSION(-103), B OK`. Reports and the list of known
differences go by kinds.
"""

import bisect
import json

from jute import ERRS, EVENTS, OPEN, WRITES
from player import enc


def path_class(p):
    if p is None:
        return "null"
    if isinstance(p, dict):
        return "odd-string"
    if p == "":
        return "empty"
    if "\0" in p:
        return "NUL"
    if not p.startswith(("/", "$", "%")):
        return "relative"
    q = p.replace("$", "/x")
    if len(q) > 1 and q.endswith("/"):
        return "ends-in-slash"
    if "//" in q:
        return "double-slash"
    parts = q.split("/")
    if "." in parts:
        return "dot"
    if ".." in parts:
        return "dotdot"
    for ch in q:
        o = ord(ch)
        if o < 0x20:
            return "control"
        if 0x7F <= o <= 0x9F:
            return "c1-control"
        if 0xD800 <= o <= 0xF8FF:
            return "surrogate-or-private"
        if 0xFFF0 <= o <= 0xFFFF:
            return "specials"
        if o > 0xFFFF:
            return "supplementary"
    if p == "/":
        return "root"
    if q == "/zookeeper" or q.startswith("/zookeeper/"):
        return "system"
    return ""


def tag(st):
    """What sets this request apart from others of its op, as far as one expects rules to differ: part of a difference's kind."""
    if "tag" in st:
        return st["tag"]
    t, op = [], st["op"]
    if "path" in st and (pc := path_class(st["path"])):
        t.append("path:" + pc)
    if st.get("flags", 0) or op == "createTTL":
        t.append(f"flags={st.get('flags', 0)}")
    if op == "createTTL":
        t.append(
            "ttl"
            + ("=0" if not st.get("ttl") else "<0" if st["ttl"] < 0 else ">max" if st["ttl"] > 0xFFFFFFFFFF else "")
        )
    if op.startswith("create") and "acl" in st and st["acl"] != OPEN:
        t.append("acl:" + acl_class(st["acl"]))
    if op == "setACL":
        t.append("acl:" + acl_class(st.get("acl")))
    if op in ("setData", "delete", "check", "setACL") and st.get("version", -1) != -1:
        t.append("version" + ("<-1" if st["version"] < -1 else ""))
    if op in ("addWatch",):
        t.append(f"mode={st.get('mode', 0)}")
    if op in ("checkWatches", "removeWatches"):
        t.append(f"type={st.get('watcher', 3)}")
    if op == "auth":
        t.append(f"scheme={st.get('scheme')}")
    if op == "raw":
        t.append(f"op={st.get('type')}")
    for k in ("keep", "cut", "pad", "flip", "xid", "split", "fill"):
        if k in st:
            t.append(k)
    if op == "connect":
        t += [k for k in ("pwflip", "pwkeep", "cut", "pad", "split", "keepold") if k in st]
        if st.get("sid", 0):
            t.append("reattach")
        if st.get("last", 0):
            t.append("lastZxidSeen")
        if "ro" in st:
            t.append(f"readOnly={st['ro']}")
        if st.get("timeout", 30000) != 30000:
            t.append(f"timeout={st['timeout']}")
    if op == "4lw":
        t.append(st["word"])
    return ",".join(t)


def acl_class(a):
    if a is None:
        return "null"
    if isinstance(a, dict):
        return "odd-vector"
    if not a:
        return "empty"
    return "+".join(sorted({str(x[1]) for x in a}))


def short(v, n=300):
    v = v if isinstance(v, str) else json.dumps(v, default=enc, ensure_ascii=True)
    return v if len(v) <= n else v[:n] + f"…({len(v)})"


def ename(e):
    return ERRS.get(e, str(e)) + (f"({e})" if e in ERRS and e else "")


def show_step(st):
    if st["op"] == "connect":
        return f"{st['s']}: connect " + " ".join(
            f"{k}={short(v, 80)}" for k, v in st.items() if k not in ("s", "op", "tag")
        )
    if st["op"] in ("burst", "multi", "multiRead"):
        inner = st.get("reqs") or st.get("ops") or []
        return (
            f"{st.get('s', '')}: {st['op']} ["
            + "; ".join(show_step(q).removeprefix(": ") for q in inner)
            + "]"
            + "".join(f" {k}={short(v, 60)}" for k, v in st.items() if k not in ("s", "op", "tag", "reqs", "ops"))
        )
    return f"{st.get('s', '')}: {st['op']} " + " ".join(
        f"{k}={acl_text(v) if k == 'acl' else short(v, 120)}" for k, v in st.items() if k not in ("s", "op", "tag")
    )


def acl_text(a):
    return (
        short(a)
        if not isinstance(a, list)
        else "["
        + " ".join(
            f"{p}:{s}:{i}" if not (isinstance(i, str) and len(i) > 40) else f"{p}:{s}:{i[:20]}…" for p, s, i in a
        )
        + "]"
    )


def show_item(it):
    if it["k"] == "event":
        return f"event {EVENTS.get(it['type'], it['type'])}({it['path']}) state={it['state']} zxid={zt(it['zxid'])}"
    if it["k"] == "reply":
        return f"{ename(it['err'])} zxid={zt(it['zxid'])}" + "".join(
            f" {k}={short(tidy(v))}" for k, v in it.items() if k not in ("k", "err", "zxid")
        )
    return it["k"] + "".join(f" {k}={short(tidy(v), 1500)}" for k, v in it.items() if k != "k")


def zt(z):
    return f"+{z['z']}" if isinstance(z, dict) else str(z)


def tidy(v):
    if isinstance(v, dict):
        return zt(v) if set(v) == {"z"} else {k: tidy(x) for k, x in v.items()}
    return [tidy(x) for x in v] if isinstance(v, list) else v


def show_obs(o):
    t = [show_item(i) for i in o.get("items", [])]
    if o.get("when"):
        t.append(o["when"])
    if o.get("skip"):
        t.append("(no connection)")
    for s, its in (o.get("after") or {}).items():
        t.append(f"then {s} gets: " + "; ".join(map(show_item, its)))
    if o.get("lost"):
        t.append("connection closed: " + " ".join(o["lost"]))
    return " | ".join(t) or "(nothing)"


class Comparer:
    def __init__(self, mode):
        self.mode = mode

    def run(self, script, ta, tb, through=False):
        """-> [(kind, step number, a's text, b's text)]; stops at the step where the states have visibly come apart."""
        self.out, self.map, self.off, self.keys, self.zseen = [], {}, 0, [], set()
        inva, invb = {}, {}
        for inv, d in ((ta["inv"], inva), (tb["inv"], invb)):
            for i, w in inv:
                d.setdefault(i, []).append(w)
        for i, st in enumerate(script):
            oa, ob = ta["obs"][i], tb["obs"][i]
            self.at, self.st, self.oa, self.ob, self.apart = i, st, oa, ob, False
            self.name = st["op"] + (f"[{t}]" if (t := tag(st)) else "")
            for who, d in (("A", inva), ("B", invb)):
                for w in sorted(set(d.get(i, []))):
                    self.diff(f"{who} contradicts itself: {w}", op=False)
            self.step(st, oa, ob)
            if self.apart and not through:
                break
        return self.out

    def diff(self, kind, a=None, b=None, op=True):
        kind = f"{self.name}: {kind}" if op else kind
        if not any(k == kind and i == self.at for k, i, _, _ in self.out):
            self.out.append(
                (kind, self.at, show_obs(self.oa) if a is None else a, show_obs(self.ob) if b is None else b)
            )

    def step(self, st, oa, ob):
        if oa.get("skip") or ob.get("skip"):
            if bool(oa.get("skip")) != bool(ob.get("skip")):
                self.diff("one side has no connection left")
                self.apart = True
            return
        if oa.get("when") != ob.get("when"):
            self.diff(f"A {oa.get('when')}, B {ob.get('when')}")
        unordered = st["op"] in ("closeSession", "await") or st.get("unordered")
        subs = st["reqs"] if st["op"] == "burst" else [st]
        if st["op"] == "await":
            self.events("own events", oa.get("items", []), ob.get("items", []), True)
        else:
            ga, gb = self.groups(oa.get("items", [])), self.groups(ob.get("items", []))
            fa, fb = [self.form(r) for _, r in ga], [self.form(r) for _, r in gb]
            if fa != fb:
                self.diff(f"A {' then '.join(fa) or 'nothing'}, B {' then '.join(fb) or 'nothing'}")
                self.apart = True
            for n, ((ea, ra), (eb, rb)) in enumerate(zip(ga, gb)):
                self.events("events before the reply", ea, eb, unordered)
                if self.form(ra) == self.form(rb):
                    self.reply(subs[n] if n < len(subs) else st, ra, rb)
        aa, ab = oa.get("after") or {}, ob.get("after") or {}
        for s in sorted(set(aa) | set(ab)):
            who = "the session" if s == st.get("s") else "another session"
            ia, ib = aa.get(s, []), ab.get(s, [])
            ea, eb = [i for i in ia if i["k"] == "event"], [i for i in ib if i["k"] == "event"]
            self.events(f"events to {who} after it", ea, eb, unordered)
            xa, xb = [i["k"] for i in ia if i["k"] != "event"], [i["k"] for i in ib if i["k"] != "event"]
            if xa != xb:
                self.diff(f"what {who} gets afterwards: A {xa or 'nothing odd'}, B {xb or 'nothing odd'}")
                self.apart = True
        la, lb = set(oa.get("lost", [])), set(ob.get("lost", []))
        for s in sorted(la ^ lb):
            self.diff(
                f"{'the' if s == st.get('s') else 'another'} session's connection is closed by {'A' if s in la else 'B'} only"
            )
            self.apart = True
        for za, zb in zip(oa.get("fz", []), ob.get("fz", [])):
            self.z(za, zb, "the zxid afterwards (ping)", header="ping")

    @staticmethod
    def groups(items):
        out, ev = [], []
        for it in items:
            if it["k"] == "event":
                ev.append(it)
            else:
                out.append((ev, it))
                ev = []
        return out + ([(ev, {"k": "end"})] if ev else [])

    @staticmethod
    def form(it):
        return {"reply": "replies", "closed": "closes", "silent": "is silent"}.get(it["k"], it["k"])

    def events(self, what, ea, eb, unordered):
        if unordered:
            key = lambda e: (e["type"], str(e["path"]))
            ea, eb = sorted(ea, key=key), sorted(eb, key=key)
        n = lambda es: "[" + " ".join(str(EVENTS.get(e["type"], e["type"])) for e in es) + "]"
        if n(ea) != n(eb):
            self.diff(f"{what}: A {n(ea)}, B {n(eb)}")
            return
        for a, b in zip(ea, eb):
            for f in ("path", "state", "err", "trailing"):
                if a.get(f) != b.get(f):
                    self.diff(f"{what}: {f}")
            self.z(a["zxid"], b["zxid"], "an event's zxid", header="event")

    def reply(self, st, a, b):
        op = st["op"]
        name, self.name = (
            self.name,
            self.name if st is self.st else f"burst:{st['op']}" + (f"[{t}]" if (t := tag(st)) else ""),
        )
        try:
            if a["k"] == "session":
                for f in a.keys() | b.keys():
                    if a.get(f) != b.get(f):
                        self.diff(f"connect response: {f} {'' if f == 'timeout' else f'A {a.get(f)}, B {b.get(f)}'}")
                        self.apart |= f == "id"
                return
            if a["k"] == "text":
                return self.text(a, b)
            if a["k"] == "raw" or a["k"] != "reply":
                if a != b:
                    self.diff("raw answer")
                return
            if a["err"] != b["err"]:
                self.diff(f"A {ename(a['err'])}, B {ename(b['err'])}")
                self.apart |= op in WRITES or op in ("auth", "addWatch", "removeWatches")
            for f in ("xid", "trailing"):
                if a.get(f) != b.get(f):
                    self.diff(f"{f}: A {a.get(f)}, B {b.get(f)}")
            good = (
                a["err"] == 0
                and op in WRITES
                and not any(x.get("type") == -1 for x in (a.get("body") or {}).get("results", []))
            )
            self.z(
                a["zxid"],
                b["zxid"],
                "the reply's zxid" + ("" if a["err"] == 0 else f" after {ename(a['err'])}"),
                header="write" if good else "read",
            )
            if a["err"] == b["err"]:
                self.body(op, st, a.get("body"), b.get("body"), op)
        finally:
            self.name = name

    def text(self, a, b):
        if a.get("error") or b.get("error"):
            if a != b:
                self.diff("refused", a=str(a), b=str(b))
            return
        for f in ("closed", "ends with newline"):
            if a[f] != b[f]:
                self.diff(f"{f}: A {a[f]}, B {b[f]}", a=short(a["lines"]), b=short(b["lines"]))
        m, x = [l for l in a["lines"] if l not in b["lines"]], [l for l in b["lines"] if l not in a["lines"]]
        if m:
            self.diff("lines that B lacks", a=short(m, 3000), b=f"has {len(x)} lines that A lacks: {short(x, 600)}")
        if x and not m:
            self.diff("lines that only B has", a="", b=short(x, 3000))
        if not m and not x and a["lines"] != b["lines"]:
            self.diff("order of lines", a=short(a["lines"]), b=short(b["lines"]))

    def body(self, op, st, a, b, where):
        if isinstance(a, dict) and isinstance(b, dict):
            if "z" in a or "z" in b:
                return self.z(a, b, where)
            for k in sorted(a.keys() | b.keys()):
                if k in a and k in b:
                    self.body(op, st, a[k], b[k], f"{where}.{k}")
                else:
                    self.diff(f"{where}.{k} present on {'A' if k in a else 'B'} only")
        elif isinstance(a, list) and isinstance(b, list) and where.endswith("results"):
            if len(a) != len(b):
                self.diff(f"{where}: A {len(a)}, B {len(b)} results")
                return
            for i, (x, y) in enumerate(zip(a, b)):
                o = st["ops"][i]["op"] if i < len(st.get("ops", [])) else "?"
                if (x.get("type"), x.get("err"), x.get("body")) != (y.get("type"), y.get("err"), y.get("body")):
                    self.diff(
                        f"result of {o}: A type {x.get('type')} err {ename(x.get('err'))}, B type {y.get('type')} err {ename(y.get('err'))}"
                        + (" (bodies differ)" if x.get("err") == y.get("err") else "")
                    )
                    self.apart |= op == "multi"
                else:
                    self.body(op, st, x, y, f"{where}[{o}]")
        elif where.rsplit(".", 1)[-1] in ("czxid", "mzxid", "pzxid"):
            self.z(a, b, where)
        elif a != b:
            self.diff(f"{where}")

    def z(self, a, b, where, header=None):
        """zxids: each is a distance from the script's start. strict: equal distances (after a difference: equal from there on); order: the same order."""
        if self.mode == "off":
            return
        if not isinstance(a, dict) or not isinstance(b, dict):
            if a != b and (self.mode == "strict" or header in (None, "event", "write")):
                self.diff(
                    f"{where}: A {zt(a)[:4] if not isinstance(a, dict) else 'n'}, B {zt(b)[:4] if not isinstance(b, dict) else 'n'}"
                )
            return
        a, b = a["z"], b["z"]
        if self.mode == "order" and header in ("read", "ping"):
            return
        if a in self.map:
            if self.map[a] != b:
                self.diff(f"{where} is another transaction's")
            return
        if self.mode == "strict":
            if b != a + self.off:
                self.diff(
                    f"{where}: advanced by {a - (self.keys[-1] if self.keys else 0):+d} on A, by {b - self.off - (self.keys[-1] if self.keys else 0):+d} on B"
                )
                self.off = b - a
        else:
            i = bisect.bisect_left(self.keys, a)
            lo = self.map[self.keys[i - 1]] if i else None
            hi = self.map[self.keys[i]] if i < len(self.keys) else None
            if (lo is not None and b <= lo) or (hi is not None and b >= hi):
                self.diff(f"{where}: another order of transactions")
                return
        self.map[a] = b
        bisect.insort(self.keys, a)
