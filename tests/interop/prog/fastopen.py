#!/usr/bin/env python3
"""fastopen - TCP Fast Open at both ends: a server that echoes, and a client whose requests leave with the SYN.

usage: fastopen.py serve ADDRESS PORT | fastopen.py connect ADDRESS PORT COUNT
serve prints "listening". connect opens COUNT connections one after the other, writes up to 20,000 bytes with each, reads them back, and prints
"verified N connections, M with data in the SYN".
"""
import random
import socket
import sys
import threading

what, addr, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
TCP_FASTOPEN, SYN_DATA = 23, 32


def echo(c):
    with c:
        while True:
            data = c.recv(65536)
            if not data:
                return
            c.sendall(data)


def serve():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 64)
    s.listen(64)
    print('listening', flush=True)
    while True:
        c, _ = s.accept()
        threading.Thread(target=echo, args=(c,), daemon=True).start()


def connect(count):
    early = 0
    for i in range(count):
        want = random.randbytes(random.choice((random.randint(1, 1000), random.randint(1, 20000))))
        with socket.socket() as s:
            s.settimeout(10)
            sent = s.sendto(want, socket.MSG_FASTOPEN, (addr, port)) if i % 2 else 0
            if not sent:
                s.setblocking(True)
                sent = s.sendto(want, socket.MSG_FASTOPEN, (addr, port))
            s.sendall(want[sent:])
            got = b''
            while len(got) < len(want):
                part = s.recv(65536)
                if not part:
                    sys.exit(f'connection {i} ended after {len(got)} of {len(want)} bytes')
                got += part
            if got != want:
                sys.exit(f'connection {i}: other bytes came back')
            early += bool(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & SYN_DATA)
    print(f'verified {count} connections, {early} with data in the SYN')


if what == 'serve':
    serve()
else:
    connect(int(sys.argv[4]))
