/* fuzz_stack.c - frames of any bytes into the whole stack, with a TCP listener, a connection being
 * opened and a UDP socket. Input: records of {length, flags, bytes}; a flag has the checksums put
 * right, so that the parsers behind them are reached. */
#include "fuzz_common.h"

#include <stdlib.h>

#define FRAMES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct sock *l, *u, *c;
	char buf[2048];

	fuzz_open(take8(&b));
	l = testenv_listener(0, 8080, 4);
	u = testenv_socket(0, SOCK_DGRAM);
	c = testenv_socket(0, SOCK_STREAM);
	testenv_bind_addr(u, testenv_ip(0), 8080);
	testenv_connect_addr(c, testenv_ip(1), 9000);
	for (unsigned i = 0; b.left && i < FRAMES_MAX; i++) {
		uint8_t flags = take8(&b);
		uint32_t n = take16(&b) % 1600;
		struct frame *f;

		n = (uint32_t)MIN((size_t)n, b.left);
		f = frame_alloc(n + 64);
		memcpy(f->data, b.p, n);
		b.p += n;
		b.left -= n;
		f->len = MAX(n, 14u);
		if (flags & 1) /* to us */
			memcpy(f->data, tenv.host[0].dev.nd.mac, 6);
		if (flags & 2)
			f->data[6] &= 0xfe;
		if (flags & 4) {
			f->data[12] = 8;
			f->data[13] = 0;
		}
		if (flags & 8 && f->len >= 34) {
			uint16_t total = (uint16_t)(f->len - 14);
			uint32_t us = testenv_ip(0);

			f->data[14] = (uint8_t)(0x40 | MAX(f->data[14] & 15, 5));
			if ((f->data[14] & 15u) * 4 > total)
				f->data[14] = 0x45;
			f->data[16] = (uint8_t)(total >> 8);
			f->data[17] = (uint8_t)total;
			memcpy(f->data + 30, &us, 4);
			frame_fix_csums(f->data, f->len);
		}
		memdev_push(&tenv.host[0].dev, f);
		if (flags & 16)
			testenv_run_for(1ULL << (flags >> 5 << 2));
		testenv_settle();
		fuzz_drop_sent();
		while (sock_recv(u, buf, sizeof(buf), 0, tenv.self) >= 0)
			;
	}
	sock_unref(l, tenv.self);
	sock_unref(u, tenv.self);
	sock_unref(c, tenv.self);
	fuzz_reset_all();
	fuzz_close();
	return 0;
}
