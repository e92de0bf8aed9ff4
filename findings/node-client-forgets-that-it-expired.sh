#!/usr/bin/env bash
# node-zookeeper-client 1.1.3 (npm): after its session has expired, the client reports DISCONNECTED and its calls fail
# with CONNECTION_LOSS, for ever.
#
# Guess: After expiry getState() is State.EXPIRED and calls fail with SESSION_EXPIRED. Anybody who asks later can see
#   that the client is finished. CONNECTION_LOSS means that the call may be tried again.
# Instead: The state is EXPIRED for a moment and the event `expired` is sent. Then the server closes the connection and
#   the state becomes DISCONNECTED. The client never connects again. Calls fail with CONNECTION_LOSS at once, and the
#   option `retries` retries them in vain.
# Why it matters: A supervisor that polls getState(), or that takes CONNECTION_LOSS for temporary as it is in other
#   clients, waits for ever. The client's ephemeral nodes are gone. Only the one event tells.
# Documents: README of the package: "State.EXPIRED - The client session is expired"; Exception.SESSION_EXPIRED is among
#   the error codes; `retries` is "the number of retry attempts for connection loss exception".
set -euo pipefail
. "$(dirname "$0")/lib.sh"
zookeeper_jars
npm_with node-zookeeper-client@1.1.3
zookeeper_start "$work/zk"
cat > "$work/expire.js" <<'JS'
const { connect, createServer } = require('node:net');
const { createRequire } = require('node:module');
const [target, modules] = process.argv.slice(2);
const zookeeper = createRequire(modules + '/x.js')('node-zookeeper-client');

// A proxy whose connections can be cut and allowed again.
let open = true;
const sockets = new Set();
const proxy = createServer((client) => {
  if (!open) return client.destroy();
  const server = connect(+target, '127.0.0.1');
  for (const [from, to] of [[client, server], [server, client]]) {
    sockets.add(from);
    from.pipe(to);
    from.on('error', () => {}).on('close', () => to.destroy());
  }
});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function main() {
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const client = zookeeper.createClient('127.0.0.1:' + proxy.address().port, { sessionTimeout: 4000 });
  const states = [];
  client.on('state', (state) => states.push(state.name));
  client.connect();
  await new Promise((resolve) => client.once('connected', resolve));
  open = false;
  sockets.forEach((socket) => socket.destroy());
  await sleep(9000);
  const expired = new Promise((resolve) => client.once('expired', resolve));
  open = true;
  await Promise.race([expired, sleep(10000)]);
  await sleep(3000);
  console.log('states = ' + states.join(', '));
  console.log('getState() = ' + client.getState().name);
  const [error] = await new Promise((resolve) => client.exists('/', (...result) => resolve(result)));
  console.log('error of a call = ' + error.name);
  await sleep(3000);
  console.log('getState() 3 seconds later = ' + client.getState().name);
  process.exit(0);
}
main();
JS
node "$work/expire.js" "$zookeeper_port" "$node_modules" > "$work/seen"
expect_lines "$work/seen" <<'SEEN'
states = SYNC_CONNECTED, DISCONNECTED, EXPIRED, DISCONNECTED
getState() = DISCONNECTED
error of a call = CONNECTION_LOSS
getState() 3 seconds later = DISCONNECTED
SEEN
finish
