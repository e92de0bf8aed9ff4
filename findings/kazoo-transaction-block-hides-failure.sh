#!/usr/bin/env bash
# kazoo 2.11.0: a transaction used as a `with` block says nothing when the server refuses it.
#
# Guess: `with client.transaction() as t:` raises on the way out if the transaction was refused, as `with` blocks of
#   database libraries do, and as every other call of kazoo does with its own exceptions.
# Instead: the block ends normally. Nothing was written, no exception is raised, and the results are out of reach: commit()
#   hands them back, but the block has called it and thrown its return value away. Committed by hand, a refused
#   transaction does not raise either; the exceptions are elements of the list.
# Why it matters: `t.check(path, version)` is the guard of optimistic locking. In this form a lost race looks like
#   success. Whoever serves ZooKeeper's protocol cannot help: for a refused multi the reply's header carries error 0, and
#   only the results in its body tell.
# Documents: kazoo, Basic Usage, "Transactions" says that the result is a list and does not show the block;
#   class kazoo.client.TransactionRequest has __enter__ and __exit__, and its note "the result should be checked" cannot
#   be followed from a block.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
python_with kazoo==2.11.0
zookeeper_start "$work/zk"
"$python" - "$zookeeper_port" > "$work/seen" <<'PY'
import sys
from kazoo.client import KazooClient

client = KazooClient("127.0.0.1:" + sys.argv[1])
client.start()
client.create("/stock", b"1 left")

raised = "nothing"
try:
    with client.transaction() as t:
        t.check("/stock", version=7)  # it is at version 0
        t.set_data("/stock", b"sold")
        t.create("/order", b"")
except Exception as e:
    raised = type(e).__name__
print("the block raised =", raised)
print("data after the block =", client.get("/stock")[0].decode())
print("/order exists =", client.exists("/order") is not None)

t = client.transaction()
t.check("/stock", version=7)
t.create("/order", b"")
print("commit() returned =", [type(r).__name__ for r in t.commit()])

try:
    client.set("/stock", b"sold", version=7)
except Exception as e:
    print("the same guard on a plain set raised =", type(e).__name__)
client.stop()
PY
expect_lines "$work/seen" <<'SEEN'
the block raised = nothing
data after the block = 1 left
/order exists = False
commit() returned = ['BadVersionError', 'RuntimeInconsistency']
the same guard on a plain set raised = BadVersionError
SEEN
finish
