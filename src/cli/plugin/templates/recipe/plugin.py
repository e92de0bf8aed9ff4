"""A recipe for counters: a beginning to change into your own.

What a recipe is asked and what it may do stands in wit/plugin.wit. Stock clients use this one with what they have:

    create <mount>/hits                              makes a counter that stands at 0
    set <mount>/hits to `+5`, `-2`, or nothing (+1)  counts, without reading before and trying again
    get <mount>/hits                                 the number

Import modules here, at the top: later calls find no files to import from.
"""
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.behavior import Answer_Done, Answer_Pass, Request_Create, Request_SetData
from wit_world.imports import types

UNIMPLEMENTED = -6
BAD_ARGUMENTS = -8
NO_NODE = -101

mount = "/"


class Setup(exports.Setup):
    # Runs before a deployment is accepted, too: what is raised here is the operator's answer.
    def configure(self, place, settings):
        global mount
        mount = place


class Behavior(exports.Behavior):
    # A client's write at the mount. What is written here and the client's request take effect together or not at all.
    def handle(self, view, txn, request):
        asked = request.value
        # The mount itself is an ordinary node.
        if asked.path.rpartition("/")[0] != mount:
            return Answer_Pass()
        if isinstance(request, Request_Create):
            if asked.sequential or not isinstance(asked.kind, types.NodeKind_Persistent):
                refuse(BAD_ARGUMENTS, "a counter is persistent, and has the name that it is given")
            txn.create(asked.path, b"0", types.NodeKind_Persistent(), asked.acl)
            return Answer_Done(asked.path)
        if isinstance(request, Request_SetData):
            node = view.get(asked.path)
            if node is None:
                refuse(NO_NODE, "there is no such counter")
            try:
                count = int(node.data) + int(asked.data or b"1")
            except ValueError:
                refuse(BAD_ARGUMENTS, "+5 or -2 is required, or nothing")
            # The client's version still holds: BADVERSION, if it has another one in mind.
            txn.set_data(asked.path, str(count).encode(), asked.version)
            return Answer_Done(asked.path)
        # Setting an access list, deleting: as if there were no recipe.
        return Answer_Pass()

    # What others changed: the superuser, a session's end, other plugins. Counters are no worse for it.
    def on_change(self, view, txn, cause, changes):
        pass

    # A timer has fired. Here nobody sets one.
    def on_timer(self, view, txn, name):
        pass

    # A call by HTTP or the command line.
    def on_call(self, view, txn, method, payload):
        refuse(UNIMPLEMENTED, f"{method}: there is no such method")

    # Puts the mount in order when the recipe starts there, a step at a time, until it returns None. Nothing here depends
    # on anything else.
    def recover(self, view, txn, after):
        return None


def refuse(code, text):
    raise Err(types.Rejection(code, text))
