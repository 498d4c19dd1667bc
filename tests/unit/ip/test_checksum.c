/* The internet checksum against a byte-by-byte one, and SipHash against the vectors of its paper. */
#include "base/csum.h"
#include "base/mbufs.h"
#include "base/siphash.h"
#include "nethost.h"
#include "../../lib/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static uint8_t data[70000];
static struct prng rng;

static void fill(void)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)prng_u64(&rng);
}

static void flat_checksum_equals_naive(void **state)
{
	(void)state;
	fill();
	for (uint32_t off = 0; off < 9; off++) {
		for (uint32_t n = 0; n < 600; n++)
			assert_int_equal(csum_flat(data + off, n), naive_csum(data + off, n, 0));
	}
	for (int i = 0; i < 200; i++) {
		uint32_t n = (uint32_t)prng_below(&rng, 65535);

		assert_int_equal(csum_flat(data + i % 8, n), naive_csum(data + i % 8, n, 0));
	}
	/* carries everywhere */
	memset(data, 0xff, sizeof(data));
	for (uint32_t n = 0; n < 300; n++)
		assert_int_equal(csum_flat(data, n), naive_csum(data, n, 0));
	assert_int_equal(csum_flat(data, 65534), naive_csum(data, 65534, 0));
	memset(data, 0, sizeof(data));
	assert_int_equal(csum_flat(data, 100), 0xffff);
}

static void header_checksum_equals_naive(void **state)
{
	(void)state;
	for (int i = 0; i < 10000; i++) {
		for (int b = 0; b < 20; b++)
			data[b] = (uint8_t)(i % 3 ? prng_u64(&rng) : 0xff);
		assert_int_equal(csum_ip4_20(data), naive_csum(data, 20, 0));
		for (uint32_t n = 0; n <= 60; n += 4)
			assert_int_equal((uint16_t)~csum_fold(csum_words(data, n)), naive_csum(data, n, 0));
		/* whatever the field holds, the same goes in */
		uint16_t fill = csum_ip4_fill(data), stored;

		data[10] = (uint8_t)i;
		data[11] = 0xff;
		assert_int_equal(csum_ip4_fill(data), fill);
		memcpy(data + 10, &fill, 2);
		memcpy(&stored, data + 10, 2);
		assert_int_equal(csum_ip4_fill(data), stored);
		assert_int_equal(csum_ip4_20(data), 0);
	}
}

static void chain_checksum_equals_naive(void **state)
{
	(void)state;
	nethost_open(1, false);
	fill();
	for (int i = 0; i < 3000; i++) {
		uint32_t len = 1 + (uint32_t)prng_below(&rng, i < 200 ? 20000 : 900);
		uint32_t seg = 1 + (uint32_t)prng_below(&rng, i < 200 ? 2000 : 200);
		struct rte_mbuf *m = nethost_chain(data, len, seg);
		uint32_t off = (uint32_t)prng_below(&rng, len), n = (uint32_t)prng_below(&rng, len - off + 1);

		assert_non_null(m);
		assert_int_equal((uint16_t)~csum_fold(csum_mbuf(m, off, n, 0)), naive_csum(data + off, n, 0));
		rte_pktmbuf_free(m);
	}
	assert_int_equal(nethost_close(), 0);
}

static void incremental_update_equals_recomputation(void **state)
{
	(void)state;
	fill();
	for (int i = 0; i < 20000; i++) {
		uint32_t at = (uint32_t)prng_below(&rng, 15) * 4;
		uint16_t sum = csum_flat(data, 64), old16, new16 = (uint16_t)(i % 7 ? prng_u64(&rng) : 0);
		uint32_t old32, new32 = (uint32_t)(i % 5 ? prng_u64(&rng) : 0xffffffff);

		memcpy(&old16, data + at, 2);
		memcpy(data + at, &new16, 2);
		sum = csum_update16(sum, old16, new16);
		assert_int_equal(sum, csum_flat(data, 64));
		memcpy(&old32, data + at, 4);
		memcpy(data + at, &new32, 4);
		assert_int_equal(csum_update32(sum, old32, new32), csum_flat(data, 64));
	}
}

static void siphash_matches_the_reference_vectors(void **state)
{
	static const uint64_t expect[16] = {
		0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
		0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
		0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
		0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	};
	const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	uint8_t in[16];

	(void)state;
	for (size_t i = 0; i < 16; i++) {
		in[i] = (uint8_t)i;
		assert_true(siphash24(key, in, i) == expect[i]);
	}
}

static void chain_operations_keep_the_bytes(void **state)
{
	static uint8_t got[70000];

	(void)state;
	nethost_open(1, false);
	fill();
	for (int i = 0; i < 5000; i++) {
		uint32_t len = 1 + (uint32_t)prng_below(&rng, 3000), seg = 1 + (uint32_t)prng_below(&rng, 300), skip, keep, pull;
		struct rte_mbuf *m = nethost_chain(data, len, seg), *other = NULL, *head;

		assert_non_null(m);
		if (i % 3 == 0) { /* somebody else holds the first segment: its bytes may not be moved */
			other = m;
			rte_mbuf_refcnt_update(m, 1);
		}
		pull = (uint32_t)prng_below(&rng, MIN(len, 120u) + 1);
		head = mbuf_pull(m, pull, nethost[0].st->pool);
		assert_non_null(head);
		m = head;
		assert_true(m->data_len >= pull && m->pkt_len == len);
		skip = (uint32_t)prng_below(&rng, len);
		mbuf_skip(m, skip);
		keep = 1 + (uint32_t)prng_below(&rng, len - skip);
		mbuf_cut(m, keep);
		assert_int_equal(m->pkt_len, keep);
		rte_mbuf_sanity_check(m, 1);
		mbuf_read(m, 0, keep, got);
		assert_memory_equal(got, data + skip, keep);
		assert_null(mbuf_pull(m, keep + 1, nethost[0].st->pool));
		rte_pktmbuf_free(m);
		if (other)
			rte_pktmbuf_free_seg(other);
	}
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flat_checksum_equals_naive),
		cmocka_unit_test(header_checksum_equals_naive),
		cmocka_unit_test(chain_checksum_equals_naive),
		cmocka_unit_test(incremental_update_equals_recomputation),
		cmocka_unit_test(siphash_matches_the_reference_vectors),
		cmocka_unit_test(chain_operations_keep_the_bytes),
	};

	prng_seed(&rng, 1);
	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
