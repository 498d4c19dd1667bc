/* explore.c - see explore.h. */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_BITS 22
#define MAX_DEPTH 4096

uint8_t mx_load(const struct mx_state *s, unsigned t, unsigned var)
{
	for (unsigned i = s->sb_len[t]; i > 0; i--)
		if (s->sb_var[t][i - 1] == var)
			return s->sb_val[t][i - 1];
	return s->mem[var];
}

bool mx_store(struct mx_state *s, unsigned t, unsigned var, uint8_t val)
{
	if (s->sb_len[t] == MX_BUFFER)
		return false;
	s->sb_var[t][s->sb_len[t]] = (uint8_t)var;
	s->sb_val[t][s->sb_len[t]++] = val;
	return true;
}

static void drain_one(struct mx_state *s, unsigned t)
{
	s->mem[s->sb_var[t][0]] = s->sb_val[t][0];
	s->sb_len[t]--;
	memmove(&s->sb_var[t][0], &s->sb_var[t][1], MX_BUFFER - 1);
	memmove(&s->sb_val[t][0], &s->sb_val[t][1], MX_BUFFER - 1);
	s->sb_var[t][MX_BUFFER - 1] = s->sb_val[t][MX_BUFFER - 1] = 0;
	if (s->sb_len[t] < MX_BUFFER) /* canonical form: what lies beyond the length is zero */
		s->sb_var[t][s->sb_len[t]] = s->sb_val[t][s->sb_len[t]] = 0;
}

void mx_park_if(struct mx_state *s, unsigned t, unsigned var, uint8_t val)
{
	if (s->mem[var] == val)
		s->parked[t] = (uint8_t)(var + 1);
}

void mx_wake(struct mx_state *s, unsigned var)
{
	for (unsigned t = 0; t < MX_THREADS; t++)
		if (s->parked[t] == var + 1)
			s->parked[t] = 0;
}

/* --- set of visited states --- */

struct visited {
	struct mx_state *slot;
	uint8_t *used;
	uint64_t count;
};

static uint64_t hash_state(const struct mx_state *s)
{
	const uint8_t *p = (const uint8_t *)s;
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < sizeof(*s); i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h ^ h >> 29;
}

/* true if s is new */
static bool visit(struct visited *v, const struct mx_state *s)
{
	uint64_t mask = (1ULL << TABLE_BITS) - 1, i = hash_state(s) & mask;

	while (v->used[i]) {
		if (memcmp(&v->slot[i], s, sizeof(*s)) == 0)
			return false;
		i = (i + 1) & mask;
	}
	if (v->count > mask / 2) {
		fprintf(stderr, "model too large: more than %llu states\n", (unsigned long long)(mask / 2));
		exit(2);
	}
	v->used[i] = 1;
	v->slot[i] = *s;
	v->count++;
	return true;
}

/* --- depth-first search --- */

struct frame {
	struct mx_state s;
	unsigned next; /* next choice: thread * 2 + (1: drain its buffer) */
	unsigned took; /* choice by which this state was reached */
	bool moved;
};

static bool apply(const struct mx_model *m, unsigned fault, struct mx_state *s, unsigned choice)
{
	unsigned t = choice / 2;

	if (choice & 1) {
		if (!s->sb_len[t])
			return false;
		drain_one(s, t);
		return true;
	}
	if (s->pc[t] == MX_END || s->parked[t])
		return false;
	switch (m->step(s, t, fault)) {
	case MX_BLOCKED:
		return false;
	case MX_DONE:
		s->pc[t] = MX_END;
		return true;
	case MX_STEP:
		break;
	}
	return true;
}

static void describe(const struct frame *f, unsigned depth, char *path, size_t bytes)
{
	size_t at = 0;

	path[0] = '\0';
	for (unsigned d = 1; d <= depth && at + 24 < bytes; d++)
		at += (size_t)snprintf(path + at, bytes - at, f[d].took & 1 ? "%uflush " : "%u@%u ", f[d].took / 2,
				       f[d - 1].s.pc[f[d].took / 2]);
}

bool mx_explore(const struct mx_model *m, unsigned fault, uint64_t *states, char *path, size_t path_bytes)
{
	struct visited v = { .count = 0 };
	struct frame *f = calloc(MAX_DEPTH, sizeof(*f));
	unsigned depth = 0;
	bool ok = true;

	v.slot = calloc(1ULL << TABLE_BITS, sizeof(*v.slot));
	v.used = calloc(1ULL << TABLE_BITS, 1);
	if (!f || !v.slot || !v.used)
		exit(2);
	m->init(&f[0].s);
	visit(&v, &f[0].s);
	while (ok) {
		struct frame *top = &f[depth];
		struct mx_state s;

		if (top->next == m->threads * 2) {
			if (!top->moved && !m->final_ok(&top->s))
				ok = false;
			else if (depth-- == 0)
				break;
			continue;
		}
		s = top->s;
		if (!apply(m, fault, &s, top->next++))
			continue;
		top->moved = true;
		if (!s.bad && !visit(&v, &s))
			continue;
		if (++depth == MAX_DEPTH) {
			fprintf(stderr, "model %s: path too long\n", m->name);
			exit(2);
		}
		memset(&f[depth], 0, sizeof(f[depth]));
		f[depth].s = s;
		f[depth].took = top->next - 1;
		ok = !s.bad;
	}
	*states = v.count;
	if (!ok)
		describe(f, depth, path, path_bytes);
	free(f);
	free(v.slot);
	free(v.used);
	return ok;
}
