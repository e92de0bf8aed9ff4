"""Checks a validator `short-LANG` that is deployed at /LANG/**: it accepts short data, refuses long data, and says why.

    check.py HOST:PORT LANG

Prints the plugin's fuel and time per call.
"""
import json
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import BadArgumentsError

WRITES = 500

address, language = sys.argv[1:]
name, folder = f"short-{language}", f"/{language}"
client = KazooClient(address, timeout=60)
client.start()
client.ensure_path(folder)

client.create(f"{folder}/good", b"x" * 1024)
for write in (lambda: client.create(f"{folder}/bad", b"x" * 1025), lambda: client.set(f"{folder}/good", b"x" * 1025)):
    try:
        write()
    except BadArgumentsError:
        refusal = client.get("/zookeeper/rejection")[0].decode().splitlines()[0]
        assert f"{name}: {folder}/" in refusal and "1025 bytes, at most 1024 are allowed" in refusal, refusal
    else:
        sys.exit("the validator accepted the long write")
assert client.exists(f"{folder}/bad") is None
assert client.get(f"{folder}/good")[0] == b"x" * 1024


def counters():
    return json.loads(client.get(f"/zookeeper/plugins/{name}/counters")[0])


before, began = counters(), time.monotonic()
for number in range(WRITES):
    client.set(f"{folder}/good", str(number).encode())
took, after = time.monotonic() - began, counters()
assert sum(after["faults"].values()) == 0, after
calls = after["calls"] - before["calls"]
assert calls == WRITES, after
instances = json.loads(client.get(f"/zookeeper/plugins/{name}/status")[0])["instances"]
assert instances == "reused", instances
fuel, ns = ((after[key] - before[key]) / calls for key in ("fuel_total", "ns_total"))
print(f"ok {language}: {fuel:,.0f} fuel a call (first and largest {after['fuel_max']:,}), {ns / 1000:,.1f} us; a write took {took / calls * 1e6:,.0f} us")
client.stop()
