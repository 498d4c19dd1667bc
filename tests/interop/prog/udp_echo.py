#!/usr/bin/env python3
"""udp_echo - sends every datagram back to where it came from.

usage: udp_echo.py PORT ADDRESS
"""
import socket
import sys

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind((sys.argv[2], int(sys.argv[1])))
print('listening', flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
