// What plugins in JavaScript share. The contract itself is wit/plugin.wit.
import { log } from 'wasmkeeper:plugin/logging@1.0.0';

/** The ZooKeeper error codes that a plugin may choose among. */
export const code = {
  SYSTEM_ERROR: -1,
  UNIMPLEMENTED: -6,
  BAD_ARGUMENTS: -8,
  NO_NODE: -101,
  NO_AUTH: -102,
  BAD_VERSION: -103,
  NO_CHILDREN_FOR_EPHEMERALS: -108,
  NODE_EXISTS: -110,
  NOT_EMPTY: -111,
  INVALID_ACL: -114,
  QUOTA_EXCEEDED: -125,
  THROTTLED: -127,
};

/** Refuses: a client gets the code, and finds the text at /zookeeper/rejection. */
export function refuse(code, text) {
  throw { code, text };
}

/** Refuses the settings: the operator who deploys reads the text. Name the setting. */
export function refuseSettings(text) {
  throw text;
}

/** A node's data as text, and text as a node's data. */
export const textOf = (bytes) => new TextDecoder().decode(bytes);
export const bytesOf = (text) => new TextEncoder().encode(text);

/** The path without its last part, and that part. */
export const parentOf = (path) => path.slice(0, path.lastIndexOf('/')) || '/';
export const nameOf = (path) => path.slice(path.lastIndexOf('/') + 1);

/**
 * An interface to export, such that whatever is thrown and is no refusal leaves its stack in the plugin's log. The call then
 * ends as a fault. Refusals of the server's, by `view` and `transaction`, that nobody catches become the plugin's own.
 */
export function plugin(functions) {
  const told = (call) => (...args) => {
    try {
      return call(...args);
    } catch (thrown) {
      if (thrown instanceof Error && thrown.payload !== undefined) throw thrown.payload;
      if (thrown instanceof Error) log('error', `${thrown}\n${thrown.stack}`);
      throw thrown;
    }
  };
  return Object.fromEntries(Object.entries(functions).map(([name, call]) => [name, told(call)]));
}
