"""A run: plays scripts to one or two servers, compares, shrinks what differs, and reports."""

import concurrent.futures
import fnmatch
import gzip
import json
import random
import sys
import time

from cases import cases
from comparer import Comparer, show_obs, show_step
from jute import FORMAT
from player import Gone, Runner, dec, enc
from random_scripts import random_script


def plan(a):
    """-> [(name, group, script, through)], in the order they are run."""
    out = []
    only = [x for x in (a.only or "").split(",") if x]
    for c in cases(a.super):
        if not only or any(
            fnmatch.fnmatch(c["group"], x) or fnmatch.fnmatch(f"{c['group']}:{c['name']}", x) for x in only
        ):
            out.append((f"{c['group']}: {c['name']}", c["group"], c["steps"], c["through"]))
    if not only or "random" in only:
        for s in range(a.start_seed, a.start_seed + a.seeds):
            out.append((f"random: seed {s}", "random", random_script(s, a.steps), False))
    return out


def shrink(script, kind, both, budget):
    """Leaves out steps while the same kind of difference stays. both(script) -> kinds."""
    end = time.monotonic() + budget
    cur = list(script)
    n = 2
    tries = 0
    while len(cur) > 1 and time.monotonic() < end:
        size = max(1, len(cur) // n)
        cut = False
        for i in range(0, len(cur), size):
            if time.monotonic() > end:
                break
            cand = cur[:i] + cur[i + size :]
            tries += 1
            if cand and kind in both(cand):
                cur = cand
                n = max(2, n - 1)
                cut = True
                break
        if not cut:
            if size == 1:
                break
            n = min(len(cur), n * 2)
    return cur


class Report:
    def __init__(self, known):
        self.kinds, self.known, self.flaky = {}, known, set()

    def add(self, kind, name, step, script, a, b):
        self.kinds.setdefault(kind, []).append((name, step, script, a, b))
        return len(self.kinds[kind]) == 1

    def is_known(self, kind):
        return any(fnmatch.fnmatchcase(kind, p.replace("[", "[[]")) for p in self.known)


def say_kind(rep, kind, verbose, small=None, steady=None):
    name, step, script, a, b = rep.kinds[kind][0]
    print(f"\n### {kind}" + ("" if steady is None else "" if steady else "   (NOT REPRODUCED at once: a race?)"))
    print(f"    in {name}, step {step}\n    request: {show_step(script[step])}\n    A: {a}\n    B: {b}")
    if small is not None and len(small) < len(script):
        print(f"    smallest sequence that shows it ({len(small)} of {len(script)} steps):")
        for st in small:
            print(f"      {show_step(st)}")
    elif not verbose and len(script) > 1:
        print("    the steps before it:" if step <= 12 else f"    the last 12 of {step} steps before it:")
        for st in script[max(0, step - 12) : step]:
            print(f"      {show_step(st)}")
    sys.stdout.flush()


def load(f):
    with (gzip.open if f.endswith(".gz") else open)(f, "rt") as h:
        return [json.loads(l, object_hook=dec) for l in h]


def compare(a, addr, quiet=False, first=False):
    runid = f"{random.SystemRandom().randrange(1 << 24):06x}"
    t0 = time.monotonic()
    known = [l.strip() for l in open(a.known) if l.strip() and not l.startswith("#")] if a.known else []
    rep = Report(known)
    todo = plan(a)
    stored = None
    if a.replay:
        stored = load(a.replay)
        head = stored.pop(0)
        if head["format"] != FORMAT:
            sys.exit(f"{a.replay}: format {head['format']}, this tool reads {FORMAT}")
        only = [x for x in (a.only or "").split(",") if x]
        stored = [
            s
            for s in stored
            if not only
            or any(fnmatch.fnmatch(s["group"], x) or fnmatch.fnmatch(s["name"].replace(": ", ":", 1), x) for x in only)
        ]
        todo = [(s["name"], s["group"], s["script"], s["through"]) for s in stored]
        ra, rb = None, Runner("B", addr[0], runid, a.super)
    elif a.record:
        ra, rb = Runner("A", addr[0], runid, a.super), None
    else:
        ra, rb = Runner("A", addr[0], runid, a.super), Runner("B", addr[1], runid, a.super)
    runs, num = [r for r in (ra, rb) if r], [0]
    pool = concurrent.futures.ThreadPoolExecutor(2)

    def play(script):
        num[0] += 1
        return [f.result() for f in [pool.submit(r.run, script, num[0] % 100000) for r in runs]]

    out = (gzip.open if a.record.endswith(".gz") else open)(a.record, "wt") if a.record else None
    if out:
        out.write(json.dumps(dict(format=FORMAT, made=time.strftime("%Y-%m-%d"), super=bool(a.super))) + "\n")
    cmp_, done, gone, shrink_left = Comparer(a.zxid), 0, None, 240.0
    prev = None
    for i, (name, group, script, through) in enumerate(todo):
        t1 = time.monotonic()
        try:
            got = play(script)
        except Gone as e:
            gone = f"{e}; the sequence before: {prev}; this one: {name}"
            break
        prev = name
        done += 1
        if a.verbose and not quiet:
            print(f"- {name}  {time.monotonic() - t1:.2f} s", flush=True)
        if out:
            out.write(
                json.dumps(dict(name=name, group=group, through=through, script=script, **got[0]), default=enc) + "\n"
            )
            continue
        # what was stored went through JSON: so must what is compared with it
        ta, tb = (stored[i], json.loads(json.dumps(got[0], default=enc))) if stored else got
        for kind, step, sa, sb in cmp_.run(script, ta, tb, through):
            if not rep.add(kind, name, step, script, sa, sb) or rep.is_known(kind) or quiet:
                continue
            small = steady = None
            if not stored:

                def both(sc):
                    x, y = play(sc)
                    return {k for k, *_ in Comparer(a.zxid).run(sc, x, y, through)}

                try:
                    steady = kind in both(script)
                    if not steady:
                        rep.flaky.add(kind)
                    elif not a.no_shrink and shrink_left > 0 and len(script) > 2:
                        t = time.monotonic()
                        head = script[: step + 1]
                        small = shrink(
                            head if kind in both(head) else script, kind, both, min(a.shrink_seconds, shrink_left)
                        )
                        shrink_left -= time.monotonic() - t
                except Gone as e:
                    gone = f"{e} while repeating {name}"
            say_kind(rep, kind, a.verbose, small, steady)
            if a.verbose:
                for n, st in enumerate(script):
                    print(
                        f"    {n:3} {show_step(st)}\n         A {show_obs(ta['obs'][n])}\n         B {show_obs(tb['obs'][n])}"
                    )
            if gone:
                break
        if gone or (first and rep.kinds):
            break
    for r in runs:
        try:
            r.bye()
        except Exception:
            pass
    requests = runs[-1].requests
    if out:
        out.close()
        print(f"{done} sequences, {requests} requests recorded in {a.record}, {time.monotonic() - t0:.0f} s")
        return 2 if gone and print("stopped:", gone) is None else 0
    if quiet:
        return rep, done, requests, gone
    kk = [k for k in rep.kinds if rep.is_known(k)]
    new = [k for k in rep.kinds if k not in kk]
    if new:
        print("\n=== kinds of difference, most frequent first")
        for k in sorted(new, key=lambda k: -len(rep.kinds[k])):
            v = rep.kinds[k]
            names = list(dict.fromkeys(x[0] for x in v))
            print(
                f"{len(v):6} x  {k}"
                + ("   (not reproduced at once)" if k in rep.flaky else "")
                + f"\n           in {'; '.join(names[:4])}"
                + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            )
    if kk:
        print(f"\n=== {len(kk)} known kinds, {sum(len(rep.kinds[k]) for k in kk)} times: " + "; ".join(kk[:20]))
    unused = [p for p in known if not any(fnmatch.fnmatchcase(k, p.replace("[", "[[]")) for k in rep.kinds)]
    if unused and not a.only:
        print("=== known patterns that matched nothing: " + "; ".join(unused))
    if gone:
        print(f"\n=== STOPPED: {gone}")
    print(
        f"{done} sequences, {requests} requests, {len(new)} differing kinds"
        + (f", {len(kk)} known" if kk else "")
        + f" ({time.monotonic() - t0:.0f} s)"
    )
    return 2 if gone else 1 if new else 0
