"""A controller that keeps the number of a folder's children in its child `count`: a beginning to change into your own.

What a controller is asked and what it may do stands in wit/plugin.wit. It runs beside the requests, so the number follows the
children soon, not at once. Import modules here, at the top: later calls find no files to import from.
"""
from wit_world import exports
from wit_world.imports import types

COUNT = "count"
# Children come in pages of at most so many.
PAGE = 1000


class Setup(exports.Setup):
    # Runs before a deployment is accepted, too: what is raised here is the operator's answer.
    def configure(self, mount, settings):
        pass


class Reconciliation(exports.Reconciliation):
    # Something at `path` may have changed; how, is not told. Look, compare, write what is missing; where all is well, write
    # nothing. What is written here goes on only if nothing that was looked at has changed meanwhile.
    def reconcile(self, view, txn, path):
        folder = path.rpartition("/")[0]
        if view.stat(folder or "/") is None:
            return
        node = f"{folder}/{COUNT}"
        count = str(count_children(view, folder or "/")).encode()
        found = view.get(node)
        if found is None:
            txn.create(node, count, types.NodeKind_Persistent(), [])
        elif found.data != count:
            txn.set_data(node, count, None)


def count_children(view, folder):
    count, after = 0, None
    while True:
        page = view.children(folder, after, PAGE)
        count += sum(name != COUNT for name in page)
        if len(page) < PAGE:
            return count
        after = page[-1]
