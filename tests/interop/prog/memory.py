#!/usr/bin/env python3
"""memory - fills a peer's receive buffers and then the stack's packet buffers, from both sides of a fork; gives everything back; echoes.

usage: memory.py PEER PEERPORT ADDRESS PORT
Prints "listening", then "parent E..." and "child E..." with the names of the errors that sending ended with, then "full"; waits for a line
on standard input, closes its connections and prints "empty"; all the while PORT echoes, one connection after the other.
"""
import errno
import os
import socket
import sys
import threading

peer, addr = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4]))
piece = b'm' * 20000


def echo():
    while True:
        c, _ = s.accept()
        with c:
            try:
                while data := c.recv(4096):
                    c.sendall(data)
            except OSError:
                pass


def fill():
    """Sends on all connections until none takes a byte for a while."""
    conns, seen, quiet = [], set(), 0
    while quiet < 400:
        quiet += 1
        if len(conns) < 40:
            try:
                conns.append(socket.create_connection(peer, timeout=2))
                conns[-1].setblocking(False)
            except OSError as e:
                seen.add(errno.errorcode.get(e.errno, type(e).__name__))
        for c in conns:
            try:
                if c.send(piece):
                    quiet = 0
            except OSError as e:
                seen.add(errno.errorcode[e.errno])
    return conns, sorted(seen)


s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(addr)
s.listen(100)
threading.Thread(target=echo, daemon=True).start()
print('listening', flush=True)
sys.stdin.readline()
r, w = os.pipe()
if os.fork() == 0:
    conns, seen = fill()
    print('child', *seen, flush=True)
    os.close(w)
    os.read(r, 1)
    os._exit(0)
os.close(r)
conns, seen = fill()
print('parent', *seen, flush=True)
sys.stdin.readline()
for c in conns:
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
    c.close()
os.close(w)
os.wait()
print('empty', flush=True)
threading.Event().wait()
