/* sut.h - the system under test: what a script is played against. One at a time. */
#ifndef GZ_PKT_SUT_H
#define GZ_PKT_SUT_H

#include "calls.h"

/* The addresses packetdrill gives to the two sides. */
#define SUT_LOCAL_IP 0xc0a80001u  /* 192.168.0.1 */
#define SUT_REMOTE_IP 0xc0000201u /* 192.0.2.1 */

struct sut {
	const char *name;
	bool vouches_sums; /* frames that leave carry complete checksums */
	/* Makes the environment. 0; -1 with why. */
	int (*open)(const struct script *sc, char *why, size_t why_bytes);
	/* Ends it. -1: it complains (a leak). */
	int (*close)(bool failed, char *why, size_t why_bytes);
	uint64_t (*now_us)(void);
	/* Passes time to `until`; returns earlier when wake_on_frame and a frame has left the system. tick runs whenever something may have happened. */
	void (*pass)(uint64_t until_us, bool wake_on_frame, void (*tick)(void *arg), void *arg);
	/* The next frame that left, time_us filled in; NULL: none yet. The caller frees it. */
	struct frame *(*pop)(void);
	/* A frame arrives (taken). more: another follows at the same moment and belongs to the same burst. */
	void (*push)(struct frame *f, bool more);
	/* Starts a call. true: it is over. blocking: the script says that it takes time; then poll() tells when. */
	bool (*start)(struct call *c, bool blocking);
	bool (*poll)(struct call *c);
	/* A setting below net.ipv4. false: why says that there is none like it. */
	bool (*sysctl)(void *arg, const char *name, const char *value, char *why, size_t why_bytes);
	/* struct tcp_info of a descriptor into INFO_BYTES at out. */
	void (*info)(int live_fd, void *out);
};

extern const struct sut sut_plain, sut_offload, sut_kernel;

#endif
