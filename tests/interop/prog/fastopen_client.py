#!/usr/bin/env python3
"""fastopen_client - TCP Fast Open: requests leave with the SYN. The peer is an echo server.

usage: fastopen_client.py ADDRESS PORT COUNT
Opens COUNT connections one after the other, writes up to 20,000 bytes with each, reads them back, and prints
"verified N connections, M with data in the SYN".
"""
import random
import socket
import sys

addr, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SYN_DATA = 32
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
