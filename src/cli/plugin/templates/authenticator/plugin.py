"""An authenticator for names and passwords from its settings: a beginning to change into your own.

What an authenticator is asked and what it may ask back stands in wit/plugin.wit. A client says
`addauth <scheme> alice:secret`, and from then on is `<scheme>:alice` in access lists and policies. Import modules here, at
the top: later calls find no files to import from.
"""
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.authentication import Login
from wit_world.imports import types

NO_AUTH = -102

logins = []


class Setup(exports.Setup):
    # Runs before a deployment is accepted, too: what is raised here is the operator's answer.
    def configure(self, mount, settings):
        global logins
        logins = json.loads(settings).get("logins", [])
        if not isinstance(logins, list) or not all(isinstance(login, str) and ":" in login for login in logins):
            raise Err("logins: a list of NAME:PASSWORD is required")


class Authentication(exports.Authentication):
    # What this credential proves. Never log it.
    def authenticate(self, view, credential):
        for login in logins:
            if equal(login.encode(), credential):
                return Login(ids=[login.split(":")[0]], valid_until_ms=None)
        raise Err(types.Rejection(NO_AUTH, "there is no such login"))

    # Is this a well-formed id for an access list? The text of an Err says why not.
    def check_id(self, id):
        if id == "":
            raise Err("an id is required")

    # Asked only if the two differ: here ids match nothing but themselves.
    def matches(self, held, wanted):
        return False


def equal(one, other):
    """Takes as long wherever the difference is, so that nobody can guess a password letter by letter."""
    differs = 0
    for a, b in zip(one, other):
        differs |= a ^ b
    return len(one) == len(other) and differs == 0
