"""On PYTHONPATH of a kernel under test: every attempt to reach another machine is written down and refused.

Python imports this module before anything else. The attempts go, one a line, to the file that
KIT_NETWORK_LOG names, so that a notebook which catches the error is found out too.
"""

import os
import socket
import sys

LOOPBACK = {"", "localhost", "::1", "::", "0.0.0.0"}
HOST_OF = {
    "socket.connect": lambda args: args[1],
    "socket.sendto": lambda args: args[1],
    "socket.sendmsg": lambda args: args[1],
    "socket.getaddrinfo": lambda args: args[0],
    "socket.gethostbyname": lambda args: args[0],
}


def _refuse(event, args):
    if event not in HOST_OF:
        return
    address = HOST_OF[event](args)
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode()
    is_unix_socket = event in ("socket.connect", "socket.sendto", "socket.sendmsg") and not isinstance(address, tuple)
    if host is None or is_unix_socket or host in LOOPBACK or host.startswith("127.") or host == socket.gethostname():
        return
    with open(os.environ["KIT_NETWORK_LOG"], "a", encoding="utf-8") as log:
        print(event, host, file=log)
    raise OSError(f"a walkthrough runs offline; {event} wanted {host}")


sys.addaudithook(_refuse)
