// A recipe for counters: a beginning to change into your own.
//
// What a recipe is asked and what it may do stands in wit/plugin.wit. Stock clients use this one with what they have:
//
//   create <mount>/hits                              makes a counter that stands at 0
//   set <mount>/hits to `+5`, `-2`, or nothing (+1)  counts, without reading before and trying again
//   get <mount>/hits                                 the number
import { bytesOf, code, parentOf, plugin, refuse, textOf } from './wasmkeeper.js';

let mount;

export const setup = plugin({
  // Runs before a deployment is accepted, too: what is refused here is the operator's answer.
  configure(place, settings) {
    mount = place;
  },
});

export const behavior = plugin({
  // A client's write at the mount. What is written here and the client's request take effect together or not at all.
  // Answers { tag: 'pass' }, or { tag: 'done', val: path } when it has done what was asked.
  handle(view, txn, { tag, val: asked }) {
    // The mount itself is an ordinary node.
    if (parentOf(asked.path) !== mount) return { tag: 'pass' };
    switch (tag) {
      case 'create':
        if (asked.sequential || asked.kind.tag !== 'persistent') {
          refuse(code.BAD_ARGUMENTS, 'a counter is persistent, and has the name that it is given');
        }
        txn.create(asked.path, bytesOf('0'), { tag: 'persistent' }, asked.acl);
        return { tag: 'done', val: asked.path };
      case 'set-data': {
        const node = view.get(asked.path);
        if (node === undefined) refuse(code.NO_NODE, 'there is no such counter');
        const step = textOf(asked.data) || '+1';
        if (!/^[+-]?\d{1,9}$/.test(step)) refuse(code.BAD_ARGUMENTS, '+5 or -2 is required, or nothing');
        const count = (Number(textOf(node.data)) || 0) + Number(step);
        // The client's version still holds: BADVERSION, if it has another one in mind.
        txn.setData(asked.path, bytesOf(`${count}`), asked.version);
        return { tag: 'done', val: asked.path };
      }
      default:
        // Setting an access list, deleting: as if there were no recipe.
        return { tag: 'pass' };
    }
  },

  // What others changed: the superuser, a session's end, other plugins. Counters are no worse for it.
  onChange(view, txn, cause, changes) {},

  // A timer has fired. Here nobody sets one.
  onTimer(view, txn, name) {},

  // A call by HTTP or the command line.
  onCall(view, txn, method, payload) {
    refuse(code.UNIMPLEMENTED, `${method}: there is no such method`);
  },

  // Puts the mount in order when the recipe starts there, a step at a time, until it returns undefined. Nothing here
  // depends on anything else.
  recover(view, txn, after) {
    return undefined;
  },
});
