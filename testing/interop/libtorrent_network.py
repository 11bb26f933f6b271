"""A DHT of libtorrent nodes on one address of this machine, or on several.

Prints a line `HOST:PORT` for each node once they know each other, then an empty line. Then obeys, one line each:

    get KEY              prints `SEQ VALUE`, or `none`
    put SEED KEY VALUE   stores the value with the next sequence number, prints how many nodes took it

with bytes in hexadecimal. Ends when its standard input is closed, so that it cannot outlive the test.

usage: libtorrent_network.py ADDRESS[,ADDRESS...] NODES [HOST:PORT...]

There are so many nodes at each address. They get to know those at the addresses at the end, too, which have to answer.
FIRST_PORT in the environment is the port of the first node at each address; the others have any.
"""

import hashlib
import os
import sys
import time

import libtorrent

SETTINGS = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "dht_bootstrap_nodes": "",
    "alert_mask": libtorrent.alert.category_t.dht_notification,
    # By default libtorrent takes one node per address, and none whose id does not follow from a public address.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "dht_ignore_dark_internet": False,
    # All traffic comes from one address: do not take it for a flood.
    "dht_block_ratelimit": 1_000_000,
    "dht_upload_rate_limit": 100_000_000,
}

# A search of libtorrent that waits for a node which is silent ends after some 15 seconds, and what it stores afterwards may
# wait as long.
DEADLINE = 60.0


def wait_for(condition):
    """Returns the first result of `condition` that is not None."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        result = condition()
        if result is not None:
            return result
        time.sleep(0.05)
    sys.exit("waited too long for libtorrent")


def alert_of(session, kind, wanted=lambda alert: True):
    """Waits for an alert of a class."""

    def poll():
        for alert in session.pop_alerts():
            if isinstance(alert, kind) and wanted(alert):
                return alert
        return None

    return wait_for(poll)


def known_nodes(session):
    session.post_session_stats()
    return alert_of(session, libtorrent.session_stats_alert).values["dht.dht_nodes"]


def start(hosts, count, others):
    ports = [os.environ.get("FIRST_PORT", "0")] + ["0"] * (count - 1)
    wanted = [(host, port) for host in hosts for port in ports]
    sessions = [libtorrent.session(SETTINGS | {"listen_interfaces": f"{host}:{port}"}) for host, port in wanted]
    nodes = [
        (host, wait_for(lambda: session.listen_port() or None)) for session, (host, _) in zip(sessions, wanted)
    ]
    for session, own in zip(sessions, nodes):
        for host, port in nodes:
            if (host, port) != own:
                session.add_dht_node((host.strip("[]"), port))
        for other in others:
            other_host, other_port = other.rsplit(":", 1)
            session.add_dht_node((other_host, int(other_port)))
    # Further nodes may not find a place in the table. Nodes that learn of a public address of their own take a new id that
    # follows from it (BEP 42), and are forgotten for a while.
    expected = 1 if len(hosts) > 1 else min(count - 1 + len(others), 8)
    for session in sessions:
        wait_for(lambda: True if known_nodes(session) >= expected else None)
    return sessions, [f"{host}:{port}" for host, port in nodes]


def get(session, key):
    session.dht_get_mutable_item(key, b"")
    # The end of the search, which is authoritative, can take 15 seconds; the first item comes before.
    # There is no item to read when none was found. The first that libtorrent makes has the number 1.
    wanted = lambda alert: alert.seq > 0 or alert.authoritative
    alert = alert_of(session, libtorrent.dht_mutable_item_alert, wanted)
    return f"{alert.seq} {alert.item['value'].hex()}" if alert.seq > 0 else "none"


def secret_of(seed):
    """The form of an Ed25519 secret that libtorrent signs with: the hashed seed, clamped (RFC 8032 section 5.1.5)."""
    secret = bytearray(hashlib.sha512(seed).digest())
    secret[0] &= 248
    secret[31] = (secret[31] & 63) | 64
    return bytes(secret)


def put(session, seed, key, value):
    session.dht_put_mutable_item(secret_of(seed), key, value, b"")
    return str(alert_of(session, libtorrent.dht_put_alert).num_success)


def main():
    addresses, count, *others = sys.argv[1:]
    hosts = [f"[{address}]" if ":" in address else address for address in addresses.split(",")]
    sessions, nodes = start(hosts, int(count), others)
    print(*nodes, "", sep="\n", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        arguments = [bytes.fromhex(argument) for argument in arguments]
        print({"get": get, "put": put}[command](sessions[0], *arguments), flush=True)


if __name__ == "__main__":
    main()
