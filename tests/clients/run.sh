#!/usr/bin/env bash
# Runs real clients against a running server: Curator's recipes, zkCli, and the C client.
#
#   CLASSPATH=$(tests/conformance/zookeeper.sh classpath) tests/clients/run.sh HOST:PORT
#
# Prints a line for each part. A client is skipped, with a line that says so, if its tools are not installed: a JDK and
# a class path with ZooKeeper 3.9 and Curator 5, or the headers of the C client.
set -euo pipefail
server=$1; here=$(cd "$(dirname "$0")" && pwd); work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
if command -v javac >/dev/null && [[ -n ${CLASSPATH:-} ]]; then
  javac -nowarn -d "$work" "$here/Recipes.java"
  java -cp "$work:$CLASSPATH" Recipes "$server"
  java -cp "$CLASSPATH" org.apache.zookeeper.ZooKeeperMain -server "$server" < "$here/zkcli.txt" > "$work/zkcli.out" 2>&1 || { cat "$work/zkcli.out"; exit 1; }
  if grep -nE 'KeeperErrorCode|Exception|is not valid|Command failed' "$work/zkcli.out"; then cat "$work/zkcli.out"; echo "zkCli: failed"; exit 1; fi
  echo "ok zkCli: $(grep -c . "$here/zkcli.txt") commands"
else
  echo "skipped Curator and zkCli: no javac, or CLASSPATH is not set"
fi
if [[ -f /usr/include/zookeeper/zookeeper.h ]]; then
  cc -DTHREADED -o "$work/smoke" "$here/smoke.c" -lzookeeper_mt
  "$work/smoke" "$server"
else
  echo "skipped the C client: its headers are not installed (Debian: libzookeeper-mt-dev)"
fi
