/* ifinfo.h - what the kernel says about its network interfaces, by route netlink.
 * Called while a device is looked up and opened, and by housekeeping; any thread. Raw system calls only. */
#ifndef GZ_NETDEV_IFINFO_H
#define GZ_NETDEV_IFINFO_H

#include "base/compiler.h"

#include <net/if.h>

struct nlmsghdr;

struct if_info {
	int ifindex;
	char name[IF_NAMESIZE];
	uint8_t mac[6];
	bool has_mac;	/* an Ethernet address of six bytes */
	bool ethernet;	/* frames have Ethernet headers */
	bool loopback;
	bool enslaved;	/* member of a bond, bridge or VRF */
	uint32_t mtu;
	uint32_t flags; /* IFF_* with IFF_LOWER_UP */
};

/* Up and with carrier. */
bool ifinfo_link_up(const struct if_info *i);
/* Reads one RTM_NEWLINK or RTM_DELLINK message of len bytes (checked against its own length). False: not one, or malformed. */
bool ifinfo_parse(const struct nlmsghdr *nh, size_t len, struct if_info *out);
/* 0; -ENODEV no such interface; -ENOTUNIQ several have this address and none stands out; else -errno. */
int ifinfo_by_name(const char *name, struct if_info *out);
int ifinfo_by_index(int ifindex, struct if_info *out);
int ifinfo_by_mac(const uint8_t mac[6], struct if_info *out);
/* The interface of a PCI function bound to a kernel network driver. -ENODEV: the function is not driven by one. */
int ifinfo_by_pci(const char *pci, struct if_info *out);
/* Name of the driver of a PCI function, "" none; -ENODEV: no such function. */
int ifinfo_pci_driver(const char *pci, char *driver, size_t bytes);
/* "aa:bb:cc:dd:ee:ff" (or with '-'): true and mac filled. */
bool ifinfo_parse_mac(const char *text, uint8_t mac[6]);
/* "0000:3b:00.0" or "3b:00.0": true and the full form in out[13]. */
bool ifinfo_parse_pci(const char *text, char out[13]);
/* Route netlink socket, group RTMGRP_LINK if watch. Descriptor or -errno. */
int ifinfo_netlink_open(bool watch);

#endif
