// A policy under which everybody reads and only some may write: a beginning to change into your own.
//
// What a policy is asked and what it may ask back stands in wit/plugin.wit. It takes away what access lists grant, and
// cannot grant what they refuse.
import { plugin, refuseSettings } from './wasmkeeper.js';

let writers;

export const setup = plugin({
  // Runs before a deployment is accepted, too: what is refused here is the operator's answer.
  configure(mount, settings) {
    writers = JSON.parse(settings).writers ?? [];
    if (!Array.isArray(writers)) refuseSettings('writers: a list is required, such as ["ip:127.0.0.1"]');
  },
});

export const authorization = plugin({
  // Asked for each operation that the access list has allowed, and for each event of a watch. Answers { tag: 'allow' },
  // { tag: 'deny', val: text } or { tag: 'abstain' }.
  authorize(view, verb, path) {
    if (verb === 'read' || verb === 'children') return { tag: 'allow' };
    const isWriter = view.identities().some(({ scheme, id }) => writers.includes(`${scheme}:${id}`));
    return isWriter ? { tag: 'allow' } : { tag: 'deny', val: `only its writers may change ${path}` };
  },
});
