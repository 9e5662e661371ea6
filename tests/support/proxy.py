"""A TCP proxy, for faults that no server produces when asked.

    with Proxy("127.0.0.1", 15432, postgres=True) as proxy:
        proxy.cut_commit(after=True)   # the server commits, its answer never arrives
        proxy.cut_commit(after=False)  # the COMMIT never reaches the server
        proxy.stall()                  # connections stay open, nothing passes
        proxy.refuse()                 # open connections end, new ones are refused
        proxy.forward()                # back to normal
"""

import socket
import threading

PROTOCOL_3 = 196608  # the code of a start-up message; before it come requests for encryption


class Proxy:
    def __init__(self, host, port, postgres=False):
        self.target = (host, port)
        self.postgres = postgres  # look for COMMIT in what passes
        self.port = None
        self.cuts = 0  # commits cut so far
        self._cut = None  # None, or whether the next COMMIT reaches the server
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._pairs = set()
        self._listener = None
        self._listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._flowing.set()
        self.refuse()

    def cut_commit(self, after):
        with self._lock:
            self._cut = after

    def stall(self):
        self._flowing.clear()

    def refuse(self):
        with self._lock:
            listener, self._listener = self._listener, None
            pairs = list(self._pairs)
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for pair in pairs:
            pair.close()

    def forward(self):
        self._flowing.set()
        if self._listener is None:
            self._listen()

    def _listen(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port or 0))
        listener.listen()
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self.target)
            except OSError:
                if self._listener is not listener:
                    return
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(self, client, server)
            with self._lock:
                self._pairs.add(pair)
            pair.start()

    def _wants_cut(self):
        """None, or the way in which the COMMIT at hand is to be cut."""
        with self._lock:
            cut, self._cut = self._cut, None
            self.cuts += cut is not None
            return cut


class _Pair:
    """One connection: a thread a direction."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.client = client
        self.server = server
        self.cutting = False  # drop what the server says next

    def start(self):
        threading.Thread(target=self._to_server, daemon=True).start()
        threading.Thread(target=self._to_client, daemon=True).start()

    def close(self):
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.client.close()
        self.server.close()
        with self.proxy._lock:
            self.proxy._pairs.discard(self)

    def _to_server(self):
        pending, started = b"", False
        try:
            while data := self.client.recv(65536):
                if not self.proxy.postgres:
                    self.proxy._flowing.wait()
                    self.server.sendall(data)
                    continue
                pending += data
                while frame := _frame(pending, started):
                    pending = pending[len(frame) :]
                    if not started:
                        started = int.from_bytes(frame[4:8]) == PROTOCOL_3
                    elif frame[:1] == b"Q" and frame[5:-1].strip().lower() == b"commit":
                        cut = self.proxy._wants_cut()
                        if cut is False:
                            return
                        self.cutting = cut is True
                    self.proxy._flowing.wait()
                    self.server.sendall(frame)
        except OSError:
            pass
        finally:
            self.close()

    def _to_client(self):
        try:
            while data := self.server.recv(65536):
                if self.cutting:
                    return
                self.proxy._flowing.wait()
                self.client.sendall(data)
        except OSError:
            pass
        finally:
            self.close()


def _frame(data, started):
    """The first whole message of data, or None."""
    head = 1 if started else 0
    if len(data) < head + 4:
        return None
    length = head + int.from_bytes(data[head : head + 4])
    return data[:length] if len(data) >= length else None
