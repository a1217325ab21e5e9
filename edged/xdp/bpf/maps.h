/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps, and the few lines that are only about one of them. */
#ifndef EDGED_MAPS_H
#define EDGED_MAPS_H

#include "frame.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct edged_live));
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EDGED_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct edged_settings));
} settings SEC(".maps");

struct restricted4_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__be32));
	__uint(value_size, sizeof(struct edged_entry));
};

struct restricted6_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct edged_prefix));
	__uint(value_size, sizeof(struct edged_entry));
};

struct gardens_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct edged_network));
	__uint(value_size, sizeof(__u32));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EDGED_SLOTS);
	__uint(key_size, sizeof(__u32));
	__array(values, struct restricted4_map);
} restricted4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EDGED_SLOTS);
	__uint(key_size, sizeof(__u32));
	__array(values, struct restricted6_map);
} restricted6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EDGED_SLOTS);
	__uint(key_size, sizeof(__u32));
	__array(values, struct gardens_map);
} gardens_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EDGED_LINKS);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* most gateways have two */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct edged_link));
} links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EDGED_ACTIONS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
} counters SEC(".maps");

/* Connections that were answered: 30 bits of a hash of addresses, ports and the sender, two that say with what, and the number after
 * the cookie. Written only
 * for clients that have proved their address; a newer connection may take an older one's place. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EDGED_FLOWS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
} answered SEC(".maps");

/* What is known of the packet in hand: the stack is too small for it beside everything else. Nobody else's business. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct packet));
} in_hand SEC(".maps");

static __always_inline int counted(__u32 action, int fate)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &action);

	if (n)
		(*n)++;
	return fate;
}

static __always_inline __u64 mixed(__u64 h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 33;
}

/* Who sent a frame, on the cable. */
static __always_inline __u64 sender_of(__u64 seed, const struct frame *f, const __u8 *eth)
{
	return mixed(seed ^ (*(const __u32 *)(eth + 6) | (__u64) * (const __u16 *)(eth + 10) << 32 | (__u64)f->vlan << 48));
}

static __always_inline __u64 hash4(__u64 seed, const struct iphdr *ip, const struct segment *s)
{
	__u64 ends = (__u64)ip->saddr << 32 | ip->daddr;

	return mixed(mixed(ends ^ seed) ^ ((__u64)s->sport << 16 | s->dport));
}

static __always_inline __u64 hash6(__u64 seed, const struct ipv6hdr *ip, const struct segment *s)
{
	const __u32 *w = (const void *)&ip->saddr;
	__u64 h = seed;

	_Pragma("unroll") for (int i = 0; i < 8; i += 2) h = mixed(h ^ ((__u64)w[i] << 32 | w[i + 1]));
	return mixed(h ^ ((__u64)s->sport << 16 | s->dport));
}

static __always_inline __u64 *place(__u64 hash)
{
	__u32 at = hash & (EDGED_FLOWS - 1);

	return bpf_map_lookup_elem(&answered, &at);
}

#define TAG 0xfffffffc00000000ULL

static __always_inline void note(__u64 hash, __u32 base, __u32 which)
{
	__u64 *at = place(hash);

	if (at)
		*at = (hash & TAG) | (__u64)(which & 3) << 32 | base;
}

static __always_inline int noted(__u64 hash, __u32 *base, __u32 *which)
{
	__u64 *at = place(hash);
	__u64 held = at ? *at : 0;

	*base = held;
	*which = held >> 32 & 3;
	return held && !((held ^ hash) & TAG);
}

#endif
