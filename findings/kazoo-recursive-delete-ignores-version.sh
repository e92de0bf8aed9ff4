#!/usr/bin/env bash
# kazoo 2.11.0: delete(path, version=N, recursive=True) deletes the node whatever its version is.
#
# Guess: The version guards the named node. A wrong version raises BadVersionError, and a missing node raises
#   NoNodeError.
# Instead: With `recursive=True` kazoo does not look at the version, neither for the node nor for its children. A
#   missing node is no error.
# Why it matters: A conditional delete ("remove this job if nobody has touched it since") becomes unconditional when one
#   argument is added. On the wire every delete carries version -1, so no server and no policy on it can see that the
#   caller meant a version.
# Documents: The docstring of kazoo.client.KazooClient.delete promises "BadVersionError if version doesn't match" and
#   "NoNodeError if the node doesn't exist". It makes no exception for `recursive`.
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


def outcome(call):
    try:
        call()
        return "no error"
    except Exception as e:
        return type(e).__name__


client.create("/job/part", b"", makepath=True)
client.set("/job", b"touched")  # version 1 from here on
print("delete with version 0 =", outcome(lambda: client.delete("/job", version=0)))
print("recursive delete with version 0 =", outcome(lambda: client.delete("/job", version=0, recursive=True)))
print("the job exists =", client.exists("/job") is not None)
print("delete of a missing node =", outcome(lambda: client.delete("/job")))
print("recursive delete of a missing node =", outcome(lambda: client.delete("/job", recursive=True)))
client.stop()
PY
expect_lines "$work/seen" <<'SEEN'
delete with version 0 = BadVersionError
recursive delete with version 0 = no error
the job exists = False
delete of a missing node = NoNodeError
recursive delete of a missing node = no error
SEEN
finish
