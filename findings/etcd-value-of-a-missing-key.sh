#!/usr/bin/env bash
# etcd 3.4 (as in Debian 12): in a transaction, a comparison of a missing key's value is false whatever the operator, so that
# "is not x" and "is x" both fail.
#
# Guess: a missing key counts as a key of zeros, as it does for version, create_revision and mod_revision: its value is
#   empty, `value(k) != "x"` holds, and `value(k) = ""` does too. Or else the comparison is an error.
# Instead: version = 0, create < 5, mod = 0 hold for a missing key, but for the value every comparison is false, `!=` as well.
#   No error is raised; the failure branch runs.
# Why it matters: "write, unless it is mine already" does nothing on the first run, when there is no key. Who translates
#   ZooKeeper's check-and-set (NoNode is an error there) or builds a comparing multi of their own has to decide what a missing
#   node is worth; etcd decides twice, differently.
# Documents: etcd, API reference, message Compare: NOT_EQUAL is one of four results and `value` "is the value of the given
#   key"; "etcd3 API", "Transaction", says that comparisons check "for the absence or presence of a value".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
debian_packages etcd-server etcd-client
client=$(free_port)
peer=$(free_port)
"$debian/usr/bin/etcd" --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
  --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
  > "$work/log" 2>&1 &
started+=("$!")
etcdctl() { ETCDCTL_API=3 "$debian/usr/bin/etcdctl" --endpoints "127.0.0.1:$client" "$@"; }
for ((n = 0; n < 100; n++)); do
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
