#!/usr/bin/env bash
# kazoo 2.11.0: a transaction in a `with` block raises nothing when the server refuses it.
#
# Guess: `with client.transaction() as t:` raises at the end of the block if the server refused the transaction. The
#   `with` blocks of database libraries do so, and all other calls of kazoo raise its exceptions.
# Instead: The block ends normally and nothing was written. The block calls commit() and drops the list that commit()
#   returns, so the caller cannot read the results. A commit() called by hand does not raise either: the exceptions are
#   elements of its list.
# Why it matters: `t.check(path, version)` is the guard of optimistic locking. In a block, a lost race looks like
#   success. A server cannot help: the reply header of a refused multi carries error 0, and only the results in its body
#   show the refusal.
# Documents: kazoo, Basic Usage, "Transactions", describes the list and does not show the block. The note of class
#   kazoo.client.TransactionRequest, "the result should be checked", cannot be followed from a block.
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
