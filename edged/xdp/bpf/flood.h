/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Floods, cheaply. A packet beyond the rate costs a look at the subscriber, the device, the gardens and the kernel's routes
 * before it may be dropped. Whoever floods asks the same thousands of times a second, so two answers are remembered, each
 * with all that it depends on: that an address is in debt, until its next packet is due, and that a destination is far from
 * an address, neither a garden nor the gateway itself; from that address alone, for rules and routes may go by the source.
 * What both say is dropped at once; what either does not know takes the long way.
 *
 * Whatever user space changes in the maps ends both at once: the number of changes (live.changes) is part of them.
 * The kernel's routes and addresses change without a word, so no distance is remembered longer than LASTS.
 */
#ifndef EDGED_FLOOD_H
#define EDGED_FLOOD_H

#include "rate.h"

#define LASTS 10000000 /* ns */
#define DEBTS 16384 /* places, in pairs; a power of two */
#define DISTANCES 16384 /* places; likewise. The newest wins */

/* Both are shared by all processors and written some times a second for each address that floods; who reads while another
 * writes sees by `check` that the parts do not belong together. */
struct debt {
	__u64 until; /* CLOCK_MONOTONIC ns; 0: none */
	__u64 from;  /* struct trail, here and below */
	__u64 mac;
	__u64 source[2];
	__u64 kind;
	__u64 level; /* the subscriber's */
	__u64 check;
};

/* A cache line. The family is part of `kind`: an IPv4 address has the bytes of the beginning of many an IPv6 one. */
struct distance {
	__u64 until;
	__u64 from;
	__u64 source[2]; /* whole, also where debts go by /64 */
	__u64 target[2];
	__u64 kind; /* and above LEVEL_BITS the mildest level for which it holds */
	__u64 check;
};

#define LEVEL_BITS 56

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DEBTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct debt));
} debts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DISTANCES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct distance));
} distances SEC(".maps");

static __always_inline void follow(struct trail *t, const struct edged_live *now, const struct edged_settings *s,
				   __u32 ifindex, const struct frame *f, const void *mac, __u32 syn)
{
	t->from = (__u64)now->changes << 32 | ifindex;
	t->mac = *(const __u32 *)mac | (__u64) * (const __u16 *)(mac + 4) << 32 | (__u64)f->vlan << 48;
	t->kind = (__u64)syn << 32 | f->kind << 16 | f->ether;
	t->seed = s->seed;
}

static __always_inline void follow4(struct trail *t, const struct iphdr *ip)
{
	t->source[0] = ip->saddr;
	t->source[1] = 0;
	t->station = 0;
	t->target[0] = ip->daddr;
	t->target[1] = 0;
}

/* Where no subscriber has less than a /64, all of its addresses share their fate. */
static __always_inline void follow6(struct trail *t, const struct ipv6hdr *ip, const struct edged_settings *s)
{
	const __u32 *from = (const void *)&ip->saddr, *to = (const void *)&ip->daddr;

	t->source[0] = (__u64)from[1] << 32 | from[0];
	t->station = (__u64)from[3] << 32 | from[2];
	t->source[1] = s->flags & EDGED_NARROW ? t->station : 0;
	t->target[0] = (__u64)to[1] << 32 | to[0];
	t->target[1] = (__u64)to[3] << 32 | to[2];
}

static __always_inline __u32 places_of(const struct trail *t)
{
	return mixed(t->seed ^ t->source[0] ^ t->source[1] * 3 ^ t->kind) & (DEBTS - 2);
}

static __always_inline struct distance *distance_of(const struct trail *t)
{
	__u64 ends = t->source[0] * 3 ^ t->station * 5 ^ t->target[0] * 7 ^ t->target[1] * 9;
	__u32 at = mixed(t->seed ^ ends ^ t->kind) & (DISTANCES - 1);

	return bpf_map_lookup_elem(&distances, &at);
}

static __always_inline __u64 debt_check(const struct debt *d)
{
	return d->until + d->from * 3 + d->mac * 5 + d->source[0] * 7 + d->source[1] * 9 + d->kind * 11 + d->level * 13;
}

static __always_inline __u64 distance_check(const struct distance *d)
{
	return d->until + d->from * 3 + d->source[0] * 5 + d->source[1] * 7 + d->target[0] * 9 + d->target[1] * 11 +
	       d->kind * 13;
}

static __always_inline int is_of(const struct debt *d, const struct trail *t)
{
	return !((d->source[0] ^ t->source[0]) | (d->source[1] ^ t->source[1]) | (d->from ^ t->from) | (d->mac ^ t->mac) |
		 (d->kind ^ t->kind));
}

/* The level of an address that is in debt; EDGED_OPEN: nothing is known. `now` is told: the last tick's time, some
 * milliseconds old and cheaper. */
static __always_inline __u32 in_debt(const struct trail *t, __u64 *now)
{
	__u32 at = places_of(t);
	const struct debt *d = bpf_map_lookup_elem(&debts, &at);

	if (d && !is_of(d, t)) {
		at |= 1;
		d = bpf_map_lookup_elem(&debts, &at);
	}
	if (!d || !is_of(d, t))
		return EDGED_OPEN;
	*now = bpf_ktime_get_coarse_ns();
	return *now < d->until && d->check == debt_check(d) ? d->level : EDGED_OPEN;
}

/* Whether the destination is neither the gateway nor in a garden of `level`, for all that is remembered. What holds for
 * walled subscribers holds for blocked ones, who have fewer gardens. */
static __always_inline int is_far(const struct trail *t, __u32 level, __u64 now)
{
	const struct distance *d = distance_of(t);

	if (!d || !t->kind)
		return 0;
	return !((d->source[0] ^ t->source[0]) | (d->source[1] ^ t->station) | (d->target[0] ^ t->target[0]) |
		 (d->target[1] ^ t->target[1]) | (d->from ^ t->from) | (d->kind ^ t->kind) << (64 - LEVEL_BITS)) &&
	       d->kind >> LEVEL_BITS <= level && now < d->until && d->check == distance_check(d);
}

static __always_inline void note_far(const struct packet *p, __u32 level)
{
	const struct trail *t = &p->trail;
	struct distance *d = distance_of(t);
	struct distance new = {.until = p->now + LASTS, .from = t->from, .kind = (__u64)level << LEVEL_BITS | t->kind,
			       .source = {t->source[0], t->station}, .target = {t->target[0], t->target[1]}};

	new.check = distance_check(&new);
	if (d && t->kind)
		*d = new;
}

/* Nothing more for this address until its rate allows it, or its promise ends. */
static __always_inline void note_debt(const struct packet *p, const struct edged_entry *e, __u64 burst, __u32 level)
{
	const struct trail *t = &p->trail;
	struct debt new = {.until = allowed_at(e->tat, burst, p->now), .from = t->from, .mac = t->mac, .kind = t->kind,
			   .level = level, .source = {t->source[0], t->source[1]}};
	__u32 at = places_of(t);
	struct debt *d = bpf_map_lookup_elem(&debts, &at);

	if (e->until > p->now && e->until < new.until)
		new.until = e->until;
	new.check = debt_check(&new);
	if (d && d->until > p->now && !is_of(d, t)) {
		at |= 1;
		d = bpf_map_lookup_elem(&debts, &at);
	}
	if (d && t->kind)
		*d = new;
}

#endif
