#!/usr/bin/env python3
"""bulk - a stream of bytes with its SHA-256, either way.

usage: bulk.py serve PORT [ADDRESS]         bulk.py put|get|both ADDRESS PORT BYTES [STREAMS]
put: the client sends BYTES and the server answers with the digest of what it received; get: the server sends them and then
their digest. The end of the stream stands behind unread data both times. Prints "put|get BYTES in S s: G Gbit/s".
"""
import hashlib
import os
import socket
import struct
import sys
import threading
import time

PIECE = 1 << 20


def recv_exact(s, n):
    out = bytearray()
    while len(out) < n:
        d = s.recv(n - len(out))
        if not d:
            raise SystemExit(f'the stream ended {n - len(out)} bytes early')
        out += d
    return bytes(out)


def send_stream(s, n):
    """n bytes, different in every piece; returns the digest."""
    h, piece, i = hashlib.sha256(), bytearray(os.urandom(PIECE)), 0
    while n:
        struct.pack_into('>Q', piece, (i * 64) % (PIECE - 8), i)
        part = memoryview(piece)[:min(n, PIECE)]
        h.update(part)
        s.sendall(part)
        n -= len(part)
        i += 1
    return h.hexdigest().encode()


def recv_stream(s, n):
    h, buf = hashlib.sha256(), bytearray(PIECE)
    while n:
        k = s.recv_into(buf, min(n, PIECE))
        if not k:
            raise SystemExit(f'the stream ended {n} bytes early')
        h.update(memoryview(buf)[:k])
        n -= k
    return h.hexdigest().encode()


def one(c):
    with c:
        what, n = struct.unpack('>cQ', recv_exact(c, 9))
        if what == b'P':
            c.sendall(recv_stream(c, n))
        else:
            c.sendall(send_stream(c, n))


def serve(port, addr='0.0.0.0'):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.listen(64)
    print('listening', flush=True)
    while True:
        c, _ = s.accept()
        threading.Thread(target=one, args=(c,), daemon=True).start()


failures = []


def client(what, addr, port, n):
    try:
        s = socket.create_connection((addr, port), timeout=60)
        t = time.monotonic()
        s.sendall(struct.pack('>cQ', b'P' if what == 'put' else b'G', n))
        if what == 'put':
            mine = send_stream(s, n)
            s.shutdown(socket.SHUT_WR)
            theirs = recv_exact(s, 64)
        else:
            mine = recv_stream(s, n)
            theirs = recv_exact(s, 64)
        if s.recv(1):
            raise SystemExit('bytes behind the end')
        if mine != theirs:
            raise SystemExit(f'{what}: digest {mine.decode()} here, {theirs.decode()} there')
        s.close()
        t = time.monotonic() - t
        print(f'{what} {n} in {t:.2f} s: {8 * n / t / 1e9:.2f} Gbit/s', flush=True)
    except (OSError, SystemExit) as e:
        failures.append(f'{what}: {e}')


if sys.argv[1] == 'serve':
    serve(int(sys.argv[2]), *sys.argv[3:4])
what, addr, port, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
streams = int(sys.argv[5]) if len(sys.argv) > 5 else 1
threads = [threading.Thread(target=client, args=(w, addr, port, n))
           for w in (('put', 'get') if what == 'both' else (what,)) for _ in range(streams)]
for t in threads:
    t.start()
for t in threads:
    t.join()
sys.exit('\n'.join(failures) or None)
