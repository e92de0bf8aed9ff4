"""Stands in for `java` in kazoo's test suite: starts our server with the arguments that were meant for a JVM.

    stand-in-java.py BINARY [JVM ARGUMENT...] PATH/zoo.cfg

Passes each `-Dkey=value` on. Key stores in Java's format become PEM files, since our server reads no Java key stores.
"""

import base64
import os
import re
import sys

import jks  # PyPI: pyjks

# The password that kazoo's suite gives every key store it makes.
STORE_PASSWORD = "apassword"


def pem(label, der):
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def convert(store_path):
    """Writes a PEM file beside a Java key store, and returns its path."""
    store = jks.KeyStore.load(store_path, STORE_PASSWORD)
    blocks = []
    for key in store.private_keys.values():
        blocks.append(pem("PRIVATE KEY", key.pkey_pkcs8))
        blocks.extend(pem("CERTIFICATE", certificate) for _, certificate in key.cert_chain)
    blocks.extend(pem("CERTIFICATE", entry.cert) for entry in store.certs.values())
    pem_path = store_path.removesuffix(".jks") + ".pem"
    with open(pem_path, "w") as file:
        file.write("".join(blocks))
    return pem_path


def rewrite(config_path):
    """Makes zoo.cfg name PEM files in place of key stores. A PEM file has no password."""
    with open(config_path) as file:
        text = file.read()
    location = re.compile(r"(ssl\.(?:key|trust)Store\.location=)(\S+\.jks)")
    text = location.sub(lambda match: match.group(1) + convert(match.group(2)), text)
    text = re.sub(r"ssl\.(?:key|trust)Store\.password=.*\n", "", text)
    with open(config_path, "w") as file:
        file.write(text)


def main():
    binary, arguments = sys.argv[1], sys.argv[2:]
    config_path = [argument for argument in arguments if argument.endswith("zoo.cfg")][-1]
    properties = []
    for argument in arguments:
        if argument.startswith("-D"):
            properties += ["-D", argument.removeprefix("-D")]
    rewrite(config_path)
    os.execv(binary, [binary, "serve", "--config", config_path, *properties])


if __name__ == "__main__":
    main()
