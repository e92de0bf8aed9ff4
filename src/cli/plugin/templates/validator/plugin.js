// A validator that refuses data of more than `max-bytes`: a beginning to change into your own.
//
// What a validator is asked and what it may ask back stands in wit/plugin.wit. Names are written in JavaScript's way
// (data-length is dataLength), u64 is a BigInt, and what is not there is undefined.
import { code, plugin, refuse, refuseSettings } from './wasmkeeper.js';

let bytesMax;

export const setup = plugin({
  // Runs before a deployment is accepted, too: what is refused here is the operator's answer.
  configure(mount, settings) {
    bytesMax = JSON.parse(settings)['max-bytes'] ?? 1024;
    if (!Number.isInteger(bytesMax) || bytesMax < 1) refuseSettings('max-bytes: a number of bytes is required');
  },
});

export const validation = plugin({
  // All changes of one transaction that match; `view` shows the tree as they leave it. A refusal refuses them all.
  validate(view, changes) {
    for (const { path } of changes) {
      // A change carries no data: `stat` tells the length, `get` has the bytes, `original` the node as it was.
      // Undefined: the node is gone, by this change or a later one.
      const stat = view.stat(path);
      if (stat !== undefined && stat.dataLength > bytesMax) {
        refuse(code.BAD_ARGUMENTS, `${path}: ${stat.dataLength} bytes, at most ${bytesMax} are allowed`);
      }
    }
  },
});
