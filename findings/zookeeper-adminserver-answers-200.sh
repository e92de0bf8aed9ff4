#!/usr/bin/env bash
# ZooKeeper 3.9.5: the AdminServer answers with HTTP status 200 without a quorum, for an unknown command, and for a
# missing argument. Its `ruok` differs from the four letter word.
#
# Guess: 503 without a quorum, 404 for an unknown command, 400 for a missing argument. /commands/ruok is a "no-op
#   command", so it succeeds without a quorum, as the four letter word does.
# Instead: The status is always 200. The JSON field `error` has the reason, and is null otherwise. Without a quorum
#   /commands/ruok has an error too, while `ruok` on the client port of the same server answers `imok`. Only `monitor`
#   fails by its status: 500, with an HTML page that reports a null pointer.
# Why it matters: HTTP probes look at the status, so a readiness probe on /commands/stat never takes a server out of
#   service. `ruok` means "the process lives" on one port and "the server serves" on the other. A server that imitates
#   the AdminServer must keep status 200 for clients that parse `error`.
# Documents: ZooKeeper, Administrator's Guide, "The AdminServer", ruok: "A response does not necessarily indicate that
#   the server has joined the quorum, just that the admin server is active and bound to the specified port." The guide
#   does not mention status codes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
debian_packages libjetty9-java libjackson2-databind-java libjackson2-core-java libjackson2-annotations-java libservlet-api-java
for jar in jetty9-{server,servlet,http,util,util-ajax,io,security} servlet-api jackson-{core,databind,annotations}; do
  zookeeper_classpath+=:$debian/usr/share/java/$jar.jar
done
mkdir -p "$work/member/data"
echo 1 > "$work/member/data/myid"
port=$(free_port)
admin=$(free_port)
{ printf '%s\n' tickTime=2000 initLimit=5 syncLimit=5 "dataDir=$work/member/data" "clientPort=$port" clientPortAddress=127.0.0.1 \
    admin.serverAddress=127.0.0.1 "admin.serverPort=$admin" '4lw.commands.whitelist=*'
  for i in 1 2 3; do echo "server.$i=127.0.0.1:$(free_port):$(free_port)"; done; } > "$work/member/zoo.cfg"
# Servers 2 and 3 are never started.
start_java "$work/member/log" org.apache.zookeeper.server.quorum.QuorumPeerMain "$work/member/zoo.cfg"
for ((n = 0; n < 300; n++)); do
  [[ $(four "$port" ruok 2> /dev/null || true) == imok ]] && break
  sleep 0.2
done
{
  echo "no quorum, four letter word ruok = $(four "$port" ruok)"
  python3 - "$admin" <<'PY'
import json, sys, urllib.error, urllib.request

for command in ("ruok", "stat", "leader", "monitor", "nosuch", "set_trace_mask"):
    try:
        with urllib.request.urlopen("http://127.0.0.1:%s/commands/%s" % (sys.argv[1], command), timeout=10) as reply:
            print("no quorum, %s = %d, %s" % (command, reply.status, json.load(reply)["error"]))
    except urllib.error.HTTPError as e:
        print("no quorum, %s = %d, %s" % (command, e.code, e.headers["Content-Type"].split(";")[0]))
PY
} > "$work/seen"
expect_lines "$work/seen" <<'SEEN'
no quorum, four letter word ruok = imok
no quorum, ruok = 200, This ZooKeeper instance is not currently serving requests
no quorum, stat = 200, This ZooKeeper instance is not currently serving requests
no quorum, leader = 200, This ZooKeeper instance is not currently serving requests
no quorum, monitor = 500, text/html
no quorum, nosuch = 200, Unknown command: nosuch
no quorum, set_trace_mask = 200, setTraceMask requires long traceMask argument
SEEN
finish
