/* views.h - the answers of the control socket, one function per command. The control thread reads the stacks' counters as they are
 * being written: each is a 64-bit word, sums may be off by what happened meanwhile. */
#ifndef GZ_CTL_VIEWS_H
#define GZ_CTL_VIEWS_H

#include "config/config.h"

#include <json-c/json.h>

struct ctl_request {
	const struct config *conf;
	struct json_object *args; /* the request */
};

struct ctl_view {
	const char *cmd;
	/* Adds members to out. NULL: done; else what failed. */
	const char *(*answer)(const struct ctl_request *rq, struct json_object *out);
};

extern const struct ctl_view ctl_views[];
extern const unsigned ctl_view_count;

const char *view_conns(const struct ctl_request *rq, struct json_object *out);

/* Small helpers: never fail visibly, a member without memory is left out. */
void put_u64(struct json_object *o, const char *key, uint64_t v);
void put_i64(struct json_object *o, const char *key, int64_t v);
void put_str(struct json_object *o, const char *key, const char *v);
struct json_object *put_array(struct json_object *o, const char *key);
struct json_object *put_object(struct json_object *o, const char *key);
struct json_object *append_object(struct json_object *array);
/* Integer member of the request, or otherwise. */
int64_t get_i64(const struct ctl_request *rq, const char *key, int64_t otherwise);
const char *get_str(const struct ctl_request *rq, const char *key);

#endif
