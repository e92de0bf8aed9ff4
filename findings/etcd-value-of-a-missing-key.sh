#!/usr/bin/env bash
# etcd 3.4 (Debian 12): in a transaction every comparison of a missing key's value is false, "is not x" as well as "is
# x".
#
# Guess: A missing key counts as a key of zeros, as it does for version, create_revision and mod_revision. So `value(k)
#   != "x"` holds and `value(k) = ""` holds. Or else the comparison is an error.
# Instead: For a missing key `version = 0`, `create < 5` and `mod != 5` hold. For its value every comparison is false,
#   `!=` too. etcd raises no error and runs the failure branch.
# Why it matters: "Write, unless it is mine already" does nothing on the first run, when the key is missing. ZooKeeper's
#   check of a missing node is an error. Whoever offers comparisons on a coordination service must choose one of the
#   three meanings, and whoever translates between services must know them.
# Documents: etcd, API reference, message Compare: `value` is "the value of the given key" and NOT_EQUAL is one of four
#   results. The reference does not mention missing keys; an issue that asks for it (etcd-io/etcd 19678) was open when
#   this was written.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
debian_packages etcd-server etcd-client
client=$(free_port)
peer=$(free_port)
"$debian/usr/bin/etcd" --data-dir "$work/etcd" \
  --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
  --initial-cluster "default=http://127.0.0.1:$peer" > "$work/log" 2>&1 &
started+=("$!")
etcdctl() { ETCDCTL_API=3 "$debian/usr/bin/etcdctl" --endpoints "127.0.0.1:$client" "$@"; }
for ((n = 0; n < 300; n++)); do
  etcdctl endpoint health > "$work/out" 2>&1 && break
  sleep 0.2
done
etcdctl put there y > "$work/out"
while IFS= read -r condition; do
  echo "$condition = $(printf '%s\n\n\n\n' "$condition" | etcdctl txn | head -1)"
done > "$work/seen" <<'CONDITIONS'
version("missing") = "0"
create("missing") < "5"
mod("missing") != "5"
value("missing") = ""
value("missing") = "x"
value("missing") != "x"
value("missing") < "x"
value("there") != "x"
CONDITIONS
expect_lines "$work/seen" <<'SEEN'
version("missing") = "0" = SUCCESS
create("missing") < "5" = SUCCESS
mod("missing") != "5" = SUCCESS
value("missing") = "" = FAILURE
value("missing") = "x" = FAILURE
value("missing") != "x" = FAILURE
value("missing") < "x" = FAILURE
value("there") != "x" = SUCCESS
SEEN
finish
