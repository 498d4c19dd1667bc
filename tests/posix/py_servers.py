"""Python's own servers and clients over the address under test: threads, selectors, poll, asyncio, http, subprocess beside."""
import asyncio
import http.client
import http.server
import os
import select
import selectors
import signal
import socket
import socketserver
import subprocess
import sys
import threading

ADDR = os.environ.get('GZT_ADDR', '127.0.0.1')
signal.alarm(60)


def section(name):
    print('==', name, flush=True)


def echo_once(conn):
    with conn:
        while True:
            data = conn.recv(65536)
            if not data:
                return
            conn.sendall(data)


def threads():
    section('threads')
    srv = socket.create_server((ADDR, 0))
    stop = []

    def accept():
        while not stop:
            try:
                c, peer = srv.accept()
            except OSError:
                return
            threading.Thread(target=echo_once, args=(c,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    results = []

    def client(n):
        with socket.create_connection(srv.getsockname()) as c:
            blob = bytes((i * n) & 0xff for i in range(20000))
            c.sendall(blob)
            got = b''
            while len(got) < len(blob):
                got += c.recv(4096)
            results.append(got == blob)

    ts = [threading.Thread(target=client, args=(n,)) for n in range(1, 9)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    print(len(results), all(results))
    stop.append(1)
    srv.close()


def with_selector(kind):
    section(kind.__name__)
    sel = kind()
    srv = socket.create_server((ADDR, 0))
    srv.setblocking(False)
    sel.register(srv, selectors.EVENT_READ, 'listen')
    r, w = os.pipe()
    sel.register(r, selectors.EVENT_READ, 'pipe')
    c = socket.create_connection(srv.getsockname())
    c.sendall(b'ping')
    os.write(w, b'!')
    seen = set()
    got = b''
    for _ in range(200):
        for key, ev in sel.select(0.05):
            seen.add(key.data)
            if key.data == 'listen':
                s, _ = srv.accept()
                s.setblocking(False)
                sel.register(s, selectors.EVENT_READ, 'conn')
            elif key.data == 'pipe':
                os.read(r, 10)
            else:
                d = key.fileobj.recv(100)
                got += d
                if d:
                    key.fileobj.send(d.upper())
                else:
                    sel.unregister(key.fileobj)
                    key.fileobj.close()
                    seen.add('eof')
        if got == b'ping' and 'eof' not in seen and 'closed' not in seen:
            print(c.recv(10))
            c.close()
            seen.add('closed')
        if 'eof' in seen:
            break
    print(sorted(seen), got)
    sel.close()
    srv.close()
    os.close(r)
    os.close(w)


async def aio():
    async def handle(reader, writer):
        while True:
            line = await reader.readline()
            if not line:
                break
            writer.write(line[::-1])
            await writer.drain()
        writer.close()

    srv = await asyncio.start_server(handle, ADDR, 0)
    port = srv.sockets[0].getsockname()[1]

    async def client(n):
        rd, wr = await asyncio.open_connection(ADDR, port)
        out = []
        for i in range(20):
            wr.write(b'%d-%d\n' % (n, i))
            out.append(await rd.readline() if False else await rd.readexactly(len(b'%d-%d\n' % (n, i))))
        wr.close()
        await wr.wait_closed()
        return all(o == (b'%d-%d\n' % (n, i))[::-1] for i, o in enumerate(out))

    print(await asyncio.gather(*[client(n) for n in range(10)]))
    proc = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)
    out, _ = await proc.communicate()
    print(out, proc.returncode)
    # a big transfer with flow control
    total = 3000000

    async def big(reader, writer):
        writer.write(b'z' * total)
        await writer.drain()
        writer.close()

    srv2 = await asyncio.start_server(big, ADDR, 0)
    rd, wr = await asyncio.open_connection(ADDR, srv2.sockets[0].getsockname()[1])
    data = await rd.read(-1)
    print(len(data), data.count(b'z'))
    wr.close()
    srv.close()
    srv2.close()
    try:
        await asyncio.open_connection(ADDR, 1)
    except ConnectionRefusedError as e:
        print('refused', e.errno)
    # datagrams
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, tr):
            self.tr = tr

        def datagram_received(self, data, addr):
            self.tr.sendto(data[::-1], addr)

    class Ask(asyncio.DatagramProtocol):
        def connection_made(self, tr):
            tr.sendto(b'gram')

        def datagram_received(self, data, addr):
            done.set_result(data)

    tr, _ = await loop.create_datagram_endpoint(Echo, local_addr=(ADDR, 0))
    tr2, _ = await loop.create_datagram_endpoint(Ask, remote_addr=tr.get_extra_info('sockname'))
    print(await asyncio.wait_for(done, 10))
    tr.close()
    tr2.close()


def http_server():
    section('http')

    class H(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self):
            body = b'hello ' + self.path.encode()
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers['Content-Length']))
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *a):
            pass

    srv = http.server.ThreadingHTTPServer((ADDR, 0), H)
    threading.Thread(target=srv.serve_forever, daemon=True).start()
    c = http.client.HTTPConnection(ADDR, srv.server_address[1])
    for i in range(5):
        c.request('GET', '/%d' % i)
        r = c.getresponse()
        print(r.status, r.read())
    c.request('POST', '/', body=b'q' * 200000)
    print(len(c.getresponse().read()))
    c.close()
    srv.shutdown()
    srv.server_close()


def forking():
    section('forking server')

    class H(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line.upper())

    class S(socketserver.ForkingMixIn, socketserver.TCPServer):
        pass

    srv = S((ADDR, 0), H)
    t = threading.Thread(target=srv.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
    t.start()
    for i in range(3):
        with socket.create_connection(srv.server_address) as c:
            f = c.makefile('rw')
            f.write('line %d\n' % i)
            f.flush()
            print(f.readline().strip())
            c.shutdown(socket.SHUT_WR)  # the forked child has a copy of our end too
            f.close()
    srv.shutdown()
    srv.server_close()


def odds():
    section('odds')
    srv = socket.create_server((ADDR, 0))
    c = socket.create_connection(srv.getsockname(), timeout=0.1)
    s, _ = srv.accept()
    try:
        c.recv(1)
    except socket.timeout:
        print('timeout')
    d = c.dup()
    c.close()
    d.sendall(b'dup')
    print(s.recv(10))
    print(subprocess.run([sys.executable, '-c', 'print(6*7)'], capture_output=True, close_fds=True, env={'PATH': os.environ['PATH']}).stdout)
    d.sendall(b'still')
    print(s.recv(10))
    view = bytearray(10)
    d.sendall(b'0123456789')
    print(s.recv_into(view, 4), bytes(view[:4]))
    print(s.recvmsg(100)[0])
    print(s.sendmsg([b'ab', b'cd']), d.recv(10))
    print(select.select([s], [s], [], 0) == ([], [s], []))
    p = select.poll()
    p.register(s, select.POLLIN)
    d.shutdown(socket.SHUT_WR)
    print([e for _, e in p.poll(2000)] == [select.POLLIN], s.recv(1))
    with open(__file__, 'rb') as f:
        n = os.fstat(f.fileno()).st_size
        threading.Thread(target=lambda: (s.sendfile(f), s.close())).start()
        got = b''
        while True:
            b = d.recv(5000)
            if not b:
                break
            got += b
    print(len(got) == n)
    d.close()
    srv.close()


threads()
with_selector(selectors.SelectSelector)
with_selector(selectors.PollSelector)
with_selector(selectors.EpollSelector)
section('asyncio')
asyncio.run(aio())
http_server()
forking()
odds()
