/* fuzz_ctl.c - any bytes as a request on the control socket: always an answer, always JSON with "ok". */
#include "ctl/ctl.h"

#include <json-c/json.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config c;
	struct json_object *o, *ok;
	size_t len = 0;
	char *text, *request;

	if (size > 65536)
		return 0;
	if (!c.path) {
		log_set_level(LOG_LEVEL_ERROR);
		if (conf_init(&c))
			abort();
	}
	/* a heap copy of the exact size: reading past the end shows */
	request = malloc(size ? size : 1);
	for (size_t i = 0; i < size; i++)
		request[i] = (char)data[i];
	text = ctl_answer(&c, request, size, &len);
	if (!text || !len)
		abort();
	o = json_tokener_parse(text);
	if (!o || !json_object_object_get_ex(o, "ok", &ok))
		abort();
	json_object_put(o);
	free(text);
	free(request);
	return 0;
}
