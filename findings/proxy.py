"""A TCP proxy on 127.0.0.1 whose connections can be cut and allowed again, for the findings about reconnecting."""

import socket
import threading


class Proxy:
    def __init__(self, target_port):
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Breaks all connections, and refuses new ones until `heal`."""
        self._open = False
        for s in self._sockets:
            _shut(s)
        self._sockets = []

    def heal(self):
        self._open = True

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            if not self._open:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(sink)


def _shut(s):
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
