#!/usr/bin/env python3
"""make_corpus.py - writes inputs of fuzz_tcp for what random bytes do not come to soon into ../corpus/tcp (they are committed): cookies of both kinds, a path
that got narrower, repairs that turn out to have been needless. Each function is an action of the target."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
SACK, TS, WS, ECN = 4, 8, 16, 32  # of the first handshake


def put(name, *actions, device=0, handshake=SACK | TS | WS):
    with open(os.path.join(HERE, '..', 'corpus', 'tcp', name), 'wb') as f:
        f.write(bytes([device, handshake]) + b''.join(actions))


def act(what, *more):
    return bytes([what, *more])


def wait(log2_us):
    return act(8, log2_us)


def send(n):
    return act(9, n >> 8, n & 255)


def icmp_mtu(mtu):
    return act(14, 4, (mtu - 40) // 8)


def icmp_half(code):
    return act(14, 0x40 | code, 0)


def honest(what, n, *blocks, older=None, dsack=None, ece=False):
    """older: log2 of milliseconds, see honest() there; dsack: block, as report()'s."""
    flags = (older is not None) | (dsack is not None) << 1 | ece << 2
    return act(16 + what | flags << 5, n, *blocks, *(x for x in (older, dsack) if x is not None))


def data(n, **k): return honest(0, n // 5 - 1, **k)
def acked(quarters, **k): return honest(3, quarters, **k)  # quarters of segments
def dups(n, **k): return honest(4, n - 1, **k)
def window(n): return honest(7, n)


def sacked(at, segs, quarter=0, **k):
    """One block, at half segments above the acknowledged; with timestamps n = 0 is one block."""
    return honest(2, quarter << 6, at | segs << 5, **k)


fin = honest(5, 0)
reset = honest(6, 1)
next_event = act(28)
much = act(30)
read_all = act(31)
flood = act(27, 0xff)
take_next = act(12 | 0x80)
let_go = act(12 | 0x40)


def backlog(n): return act(27, n << 1 | 1)
def defer_accept(s): return act(27, s & 0xfe)
def fastopen(queue): return act(27 | 0x40, queue)
def settings(syncookies=1, mtu_probing=0, ecn=2, fastopen=0): return act(27 | 0x20, syncookies | mtu_probing << 2 | ecn << 4 | fastopen << 6)


NONE, ASK, SHOW, SHOW_DAMAGED = range(4)


def syn(port, number=1, sackok=False, ws=None, ts=False, cookie=NONE, early=0):
    return act(24 | cookie << 5, port, number, sackok | (ws is not None) << 1 | ts << 2 | (ws or 0) << 4, *([early // 4] if cookie else []))


def to_half(n=0, ts=False):
    """The ACK that ends the handshake, or what comes after it."""
    return act(25, 0x80 | ts << 6 | n, 0)


def to_half_any(flags, seq=(0,), ack=(0,), n=0, ts=(0,), with_ts=False):
    return act(25, with_ts << 6 | flags, *seq, *(ack if flags & 0x10 else ()), n, *ts)


FIN, SYN, RST, ACK = 1, 2, 4, 16
LESS = lambda n: (4, n)
MORE = lambda n: (3, n)

# --- SYN cookies ---
use = take_next + data(100) + read_all + send(500) + acked(4) + fin
put('cookie_with_timestamps', flood, syn(0, sackok=True, ws=5, ts=True), to_half(ts=True), use)
put('cookie_without_options', flood, syn(1), to_half(), use)
put('cookie_with_data', flood, syn(2, sackok=True, ts=True), to_half(40, ts=True), use)
put('cookie_with_fin', flood, syn(2), to_half_any(ACK | FIN, n=9), use)
put('cookie_wrong', flood, syn(3), to_half_any(ACK, ack=MORE(1)), to_half_any(ACK, seq=MORE(1)), to_half(), use)
put('cookie_late', flood, syn(3), wait(27), to_half(), syn(2), wait(27), wait(27), to_half())
put('cookie_full_queue', flood, syn(0), to_half(), syn(1), backlog(0), to_half(), syn(2), take_next, to_half(), use)
put('cookie_never', settings(syncookies=0), flood, syn(0), to_half())
put('cookie_always', settings(syncookies=2), syn(0, ts=True), to_half(ts=True), use)

# --- half-open connections ---
put('record_full_queue', syn(0), to_half(), syn(1), backlog(0), to_half(), wait(21), take_next, wait(22), use)
put('record_deferred', defer_accept(4), syn(0), to_half(), wait(22), to_half(50), use)
put('record_out_of_window', syn(0, ts=True), to_half_any(ACK, seq=LESS(9)), wait(20), to_half_any(RST, seq=MORE(9)), wait(20), to_half_any(SYN | ACK),
    wait(20), to_half_any(SYN, seq=LESS(1), with_ts=True, ts=MORE(9)), to_half_any(ACK, with_ts=True, ts=(7, 0xff, 0xff, 0, 0)), wait(20),
    to_half_any(ACK, with_ts=True, ts=(7, 0xff, 0xff, 0, 0)), to_half_any(0), to_half_any(ACK, ack=MORE(1)), to_half_any(RST))
put('record_unreachable', syn(0), icmp_half(1), icmp_half(3), to_half())

# --- Fast Open ---
cookie = settings(fastopen=1) + fastopen(5) + syn(0, cookie=ASK, sackok=True) + to_half_any(RST)
put('fastopen_data', cookie, syn(1, cookie=SHOW, early=200, ts=True), take_next, read_all, send(700), act(17, 0), data(50), acked(4), fin)
put('fastopen_nothing', cookie, syn(1, cookie=SHOW), take_next, data(20), send(100), window(255), let_go)
put('fastopen_damaged', cookie, syn(1, cookie=SHOW_DAMAGED, early=200), to_half(90), use)
put('fastopen_no_answer', cookie, syn(1, cookie=SHOW, early=1000), take_next, send(900), wait(22), wait(27), wait(27))
put('fastopen_no_answer_at_all', cookie, syn(1, cookie=SHOW, early=1000), *[next_event] * 30)
put('fastopen_repeated', cookie, syn(1, cookie=SHOW, early=100), wait(20), syn(1, cookie=SHOW, early=100), wait(20), to_half(), use)
put('fastopen_queue', cookie, fastopen(1), syn(1, cookie=SHOW, early=100), syn(2, cookie=SHOW, early=100), to_half(), use)
put('fastopen_reset', cookie, syn(1, cookie=SHOW, early=100), take_next, reset)
put('fastopen_let_go', cookie, syn(1, cookie=SHOW, early=100), take_next, let_go, syn(2, cookie=SHOW, early=100), take_next, read_all, let_go, wait(24))

# --- the path ---
for name, how in (('sack', SACK | TS | WS), ('plain', 0)):
    put('narrow_' + name, much, icmp_mtu(1000), wait(14), acked(20), icmp_mtu(576), acked(80), wait(18), acked(80), handshake=how)
    put('narrow_in_recovery_' + name, much, dups(4), dups(4), icmp_mtu(576), acked(20), wait(18), acked(80), handshake=how)
    put('narrow_after_probe_' + name, much, wait(18), icmp_mtu(576), acked(20), wait(18), acked(80), handshake=how)
    put('narrow_probing_' + name, settings(mtu_probing=2), act(12, how), much, *[acked(40), much] * 6, icmp_mtu(576), acked(80), handshake=how)
    put('narrow_device_cuts_' + name, much, acked(40), icmp_mtu(800), acked(80), handshake=how, device=3)

# --- repairs ---
put('frto_spurious', much, next_event, next_event, wait(18), acked(8), acked(8), acked(40), handshake=WS)
put('frto_loss', much, wait(20), acked(8), dups(2), acked(40), handshake=WS)
put('frto_no_new_data', send(8000), wait(20), acked(8), acked(8), acked(8), handshake=WS)
put('frto_sack', much, wait(20), sacked(10, 2), acked(8), acked(40))
put('frto_closed_window', much, wait(20), acked(8), window(0), acked(8), handshake=WS)
put('eifel_in_recovery', much, wait(14), dups(1), sacked(2, 3), sacked(2, 5), acked(4, older=3), acked(40))
put('eifel_after_recovery', much, wait(14), sacked(2, 4), acked(80, older=3), much, acked(40))
put('eifel_in_loss', much, wait(20), acked(4, older=12), acked(40))
put('eifel_partial', much, wait(14), sacked(4, 3), sacked(8, 5), acked(4, older=3), acked(4, older=3), acked(40, older=3))
put('dsack_in_recovery', much, wait(14), sacked(2, 4), acked(4, dsack=2), acked(40), acked(0, dsack=2))
put('dsack_after_recovery', much, wait(14), sacked(2, 4), acked(40), acked(0, dsack=20), acked(0, dsack=20), much, acked(40))
put('dsack_in_loss', much, wait(20), acked(4), acked(4, dsack=2), acked(4, dsack=2), acked(40))
put('newreno_partial', much, dups(4), acked(4), acked(4), dups(2), acked(8), acked(80), much, acked(40), handshake=WS)
put('newreno_too_many', send(3000), dups(4), dups(4), acked(40), handshake=WS)
put('newreno_at_recover', send(14000), dups(4), acked(40), dups(4), send(9000), dups(4), acked(40), handshake=WS)
put('newreno_eifel', much, wait(14), dups(4), acked(4, older=3), acked(40, older=3), much, acked(40), handshake=TS | WS)
put('newreno_loss_again', much, wait(20), acked(4), dups(3), dups(3), acked(8), wait(21), dups(4), acked(80), handshake=WS)
put('congestion_marks', much, acked(8, ece=True), acked(8, ece=True), acked(80), acked(80), sacked(2, 4, ece=True), acked(80), much, acked(80),
    handshake=SACK | TS | WS | ECN)
put('congestion_marks_plain', much, acked(8, ece=True), dups(4, ece=True), acked(80), acked(80), much, acked(80), handshake=WS | ECN)

# --- Fast Open as the client ---
client = act(27 | 0x20, 1 | 2 << 4 | 0x80)
LATER, BARE = 0x80, 0x40


def dial(how=0, data=0): return act(15 | 0x20 | how, *(() if how & LATER else (data >> 8, data & 255)))


def answer(more=0, cookie=b'', flags=SYN | ACK):
    """A SYN-ACK that acknowledges the SYN and so many bytes of its data."""
    opts = bytes([0x83, 34, 10]) + cookie + b'\1\1' if len(cookie) == 8 else bytes([5, 5, 180])
    ack = () if not flags & ACK else (1, 5, more >> 8, more & 255) if more else (1, 0)
    return act(0, flags, 0, *ack, 0x20, 0) + opts + bytes([0])


learn = client + dial() + answer(cookie=b'cookie12') + acked(4) + reset
talk = send(500) + acked(8) + data(50) + read_all + fin
put('client_asks', client, dial(), answer(cookie=b'cookie12'), talk)
put('client_shows', learn, dial(data=900), answer(900), talk)
put('client_not_acknowledged', learn, dial(data=900), answer(), talk)
put('client_partly', learn, dial(data=900), answer(300), talk)
put('client_too_much', learn, dial(data=900), answer(901), answer(900), talk)
put('client_more_than_fits', learn, dial(data=4000), answer(1420), talk)
put('client_later', learn, dial(LATER), answer(), send(700), answer(700), talk)
put('client_later_never', learn, dial(LATER), answer(), answer(5), let_go)
put('client_bare', client, dial(BARE, 1000), answer(1000), talk)
put('client_repeated', learn, dial(data=900), wait(21), answer(), talk)
put('client_repeated_late_ack', learn, dial(data=900), wait(21), answer(900), talk)
put('client_avoids', client, *[dial(BARE, 300) + wait(21) + answer() + reset] * 3, dial(BARE, 300), answer(), talk)
put('client_refused', learn, dial(data=900), answer(900, flags=RST | ACK))
put('client_crossing', learn, dial(data=900), answer(flags=SYN), answer(flags=ACK), talk)
put('client_no_answer', learn, dial(data=900), *[next_event] * 12)
