"""A libtorrent client of a DHT, for benchmarks.

Prints `ready` once it has joined. Then obeys, one line each, many at once:

    get KEY              prints `KEY SEQ MICROSECONDS` for the first item, or `KEY none MICROSECONDS`
    put KEY SEED VALUE   prints `KEY NODES MICROSECONDS`

with bytes in hexadecimal. Ends when its standard input is closed.

usage: libtorrent_client.py HOST:PORT...
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../testing/interop"))

import libtorrent
from libtorrent_network import SETTINGS, known_nodes, secret_of, wait_for

# How long a first item is waited for, and the end of a publication.
PATIENCE = {"get": 10.0, "put": 40.0}


class Client:
    def __init__(self, session):
        self.session = session
        # What is asked for under each key, and when; from two threads, which the interpreter lets take turns.
        self.asked = {}

    def obey(self):
        for line in sys.stdin:
            command, *arguments = line.split()
            key, *rest = [bytes.fromhex(argument) for argument in arguments]
            self.asked[key] = (command, time.monotonic())
            if command == "get":
                self.session.dht_get_mutable_item(key, b"")
            else:
                seed, value = rest
                self.session.dht_put_mutable_item(secret_of(seed), key, value, b"")
        os._exit(0)

    def finish(self, key, outcome):
        asked = self.asked.pop(key, None)
        if asked is not None:
            print(key.hex(), outcome, int((time.monotonic() - asked[1]) * 1e6), flush=True)

    def hear(self):
        while True:
            self.session.wait_for_alert(20)
            for alert in self.session.pop_alerts():
                if isinstance(alert, libtorrent.dht_mutable_item_alert):
                    # The end of the search is authoritative; the first item comes before it.
                    if alert.seq > 0 or alert.authoritative:
                        self.finish(bytes(alert.key), alert.seq if alert.seq > 0 else "none")
                elif isinstance(alert, libtorrent.dht_put_alert):
                    self.finish(bytes(alert.public_key), alert.num_success)
            now = time.monotonic()
            for key, (command, asked) in list(self.asked.items()):
                if now - asked > PATIENCE[command]:
                    self.finish(key, {"get": "none", "put": 0}[command])


def main():
    session = libtorrent.session(SETTINGS | {"listen_interfaces": "127.0.0.1:0"})
    wait_for(lambda: session.listen_port() or None)
    for address in sys.argv[1:]:
        host, port = address.rsplit(":", 1)
        session.add_dht_node((host, int(port)))
    wait_for(lambda: True if known_nodes(session) >= 8 else None)
    time.sleep(10)
    client = Client(session)
    threading.Thread(target=client.obey, daemon=True).start()
    print("ready", flush=True)
    client.hear()


main()
