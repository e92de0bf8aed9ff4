"""A policy under which everybody reads and only some may write: a beginning to change into your own.

What a policy is asked and what it may ask back stands in wit/plugin.wit. It takes away what access lists grant, and cannot
grant what they refuse. Import modules here, at the top: later calls find no files to import from.
"""
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.authorization import Decision_Allow, Decision_Deny
from wit_world.imports.types import Verb

writers = []


class Setup(exports.Setup):
    # Runs before a deployment is accepted, too: what is raised here is the operator's answer.
    def configure(self, mount, settings):
        global writers
        writers = json.loads(settings).get("writers", [])
        if not isinstance(writers, list):
            raise Err('writers: a list is required, such as ["ip:127.0.0.1"]')


class Authorization(exports.Authorization):
    # Asked for each operation that the access list has allowed, and for each event of a watch. Answers Decision_Allow(),
    # Decision_Deny(text) or Decision_Abstain().
    def authorize(self, view, verb, path):
        if verb in (Verb.READ, Verb.CHILDREN):
            return Decision_Allow()
        if any(f"{who.scheme}:{who.id}" in writers for who in view.identities()):
            return Decision_Allow()
        return Decision_Deny(f"only its writers may change {path}")
