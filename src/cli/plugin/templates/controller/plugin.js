// A controller that keeps the number of a folder's children in its child `count`: a beginning to change into your own.
//
// What a controller is asked and what it may do stands in wit/plugin.wit. It runs beside the requests, so the number follows
// the children soon, not at once.
import { bytesOf, parentOf, plugin, textOf } from './wasmkeeper.js';

const COUNT = 'count';
// Children come in pages of at most so many.
const PAGE = 1000;

export const setup = plugin({
  // Runs before a deployment is accepted, too: what is refused here is the operator's answer.
  configure(mount, settings) {},
});

export const reconciliation = plugin({
  // Something at `path` may have changed; how, is not told. Look, compare, write what is missing; where all is well, write
  // nothing. What is written here goes on only if nothing that was looked at has changed meanwhile.
  reconcile(view, txn, path) {
    const folder = parentOf(path);
    if (view.stat(folder) === undefined) return;
    const node = folder === '/' ? `/${COUNT}` : `${folder}/${COUNT}`;
    const count = `${countChildren(view, folder)}`;
    const found = view.get(node);
    if (found === undefined) txn.create(node, bytesOf(count), { tag: 'persistent' }, []);
    else if (textOf(found.data) !== count) txn.setData(node, bytesOf(count), undefined);
  },
});

function countChildren(view, folder) {
  let count = 0;
  let page;
  do {
    page = view.children(folder, page?.at(-1), PAGE);
    count += page.filter((name) => name !== COUNT).length;
  } while (page.length === PAGE);
  return count;
}
