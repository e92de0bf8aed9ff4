"""A validator that refuses data of more than `max-bytes`: a beginning to change into your own.

What a validator is asked and what it may ask back stands in wit/plugin.wit. Names are written in Python's way (data-length is
data_length), and what is not there is None. Import modules here, at the top: later calls find no files to import from.
"""
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import types

BAD_ARGUMENTS = -8

bytes_max = 1024


class Setup(exports.Setup):
    # Runs before a deployment is accepted, too: what is raised here is the operator's answer.
    def configure(self, mount, settings):
        global bytes_max
        bytes_max = json.loads(settings).get("max-bytes", 1024)
        if not isinstance(bytes_max, int) or bytes_max < 1:
            raise Err("max-bytes: a number of bytes is required")


class Validation(exports.Validation):
    # All changes of one transaction that match; `view` shows the tree as they leave it. An Err refuses them all; one that
    # `view` raises, as well, in the server's own words.
    def validate(self, view, changes):
        for change in changes:
            # A change carries no data: `stat` tells the length, `get` has the bytes, `original` the node as it was.
            # None: the node is gone, by this change or a later one.
            stat = view.stat(change.path)
            if stat is not None and stat.data_length > bytes_max:
                text = f"{change.path}: {stat.data_length} bytes, at most {bytes_max} are allowed"
                raise Err(types.Rejection(BAD_ARGUMENTS, text))
