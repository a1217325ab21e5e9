/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Floods, cheaply. A packet beyond the rate costs a look at the subscriber, the device, the gardens and the kernel's routes
 * before it may be dropped. Whoever floods asks the same thousands of times a second, so two answers are remembered, each
 * under a keyed hash of all that it depends on: that an address is in debt, until its next packet is due, and that a
 * destination is far from an address, neither a garden nor the gateway itself; from that address alone, for rules and
 * routes may go by the source. Both are in one cache line, for fetching it is most of what they cost.
 * What both say is dropped at once; what either does not know takes the long way.
 *
 * Whatever user space changes in the maps ends both at once: the number of changes (live.changes) is part of them.
 * The kernel's routes and addresses change without a word, so no way is remembered longer than LASTS.
 */
#ifndef EDGED_FLOOD_H
#define EDGED_FLOOD_H

#include "rate.h"

#define LASTS 100000000 /* ns */
#define TRACES 16384 /* cache lines; a power of two */
#define WAYS 3 /* of one line */

/* What is remembered until a moment, of what has this mark: `held` is the moment, CLOCK_MONOTONIC ns, and a level in its
 * lowest bits. All processors write them, some times a second for each address that floods; `sealed` is the mark and
 * `held` at once, so that whoever reads one of them while another writes finds nobody's. */
struct note {
	__u64 sealed;
	__u64 held;
};

#define LEVEL_BITS 3

struct trace {
	struct note debt; /* of an address; the level is the subscriber's */
	struct note far[WAYS]; /* of an address and a destination; the level is the mildest for which it holds */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TRACES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct trace));
} traces SEC(".maps");

static __always_inline __u64 spread(__u64 word, int which)
{
	return word * (0x9e3779b97f4a7c15ULL + which * 0xd1342543de82ef94ULL); /* odd */
}

/* Different numbers stay different. */
static __always_inline __u64 stirred(__u64 h)
{
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93ULL;
	return h ^ h >> 32;
}

struct sip {
	__u64 v[4];
};

static __always_inline __u64 turned(__u64 word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static __always_inline void sip_round(__u64 *v)
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = turned(v[1], 13) ^ v[0];
	v[3] = turned(v[3], 16) ^ v[2];
	v[0] = turned(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = turned(v[3], 21) ^ v[0];
	v[1] = turned(v[1], 17) ^ v[2];
	v[2] = turned(v[2], 32);
}

/* SipHash-1-3 of whole words (Aumasson and Bernstein 2012; their number of bytes left out: each use has its own). */
static __always_inline void sip_begin(struct sip *h, __u64 key, __u64 use)
{
	h->v[0] = key ^ 0x736f6d6570736575ULL;
	h->v[1] = use ^ 0x646f72616e646f6dULL;
	h->v[2] = key ^ 0x6c7967656e657261ULL;
	h->v[3] = use ^ 0x7465646279746573ULL;
}

static __always_inline void sip_take(struct sip *h, __u64 word)
{
	h->v[3] ^= word;
	sip_round(h->v);
	h->v[0] ^= word;
}

static __always_inline __u64 sip_end(struct sip *h)
{
	h->v[2] ^= 0xff;
	sip_round(h->v);
	sip_round(h->v);
	sip_round(h->v);
	return h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
}

/* The marks of a packet's sender and of where it goes. An address in debt is one on its device and VLAN, to that hardware
 * address, with such frames, SYNs apart from what is not HTTP; where no subscriber has less than a /64, all addresses of one
 * share their fate. A destination is one for that address alone.
 *
 * Whoever may choose the rest of his address, or a destination, must not be able to choose a mark. An IPv4 address is too
 * short for two to have one mark: all that is done to it can be undone. What is made of the 128 bits of an IPv6 one is
 * hashed as hashes are for that. */
static __always_inline void follow(struct trail *t, __u32 changes, const struct edged_settings *s, __u32 ifindex,
				   const struct frame *f, const void *mac, __u32 syn, const struct iphdr *ip4,
				   const struct ipv6hdr *ip6)
{
	__u64 to = *(const __u32 *)mac | (__u64) * (const __u16 *)(mac + 4) << 32 | (__u64)f->vlan << 48;
	__u64 kind = (__u64)syn << 32 | f->kind << 16 | f->ether;
	__u64 seen = spread(to, 1) + spread(kind, 2) + spread((__u64)changes << 32 | ifindex, 3);
	__u64 who;

	if (ip4) {
		who = mixed(s->seed ^ ip4->saddr);
		t->place = who & (TRACES - 1); /* known first: fetching the line begins before the marks are made */
		t->sender = stirred(who + seen);
		t->way = stirred(t->sender ^ ip4->daddr);
	} else if (ip6) {
		const __u32 *a = (const void *)&ip6->saddr, *b = (const void *)&ip6->daddr;
		__u64 station = (__u64)a[3] << 32 | a[2];
		struct sip h;

		sip_begin(&h, s->seed, 1);
		sip_take(&h, (__u64)a[1] << 32 | a[0]);
		sip_take(&h, s->flags & EDGED_NARROW ? station : 0);
		who = sip_end(&h);
		t->place = who & (TRACES - 1);
		t->sender = stirred(who + seen);
		sip_begin(&h, s->seed, 2);
		sip_take(&h, t->sender);
		sip_take(&h, station);
		sip_take(&h, (__u64)b[1] << 32 | b[0]);
		sip_take(&h, (__u64)b[3] << 32 | b[2]);
		t->way = sip_end(&h);
	}
}

static __always_inline struct trace *trace_of(const struct trail *t, __u32 other)
{
	__u32 at = t->place ^ other;

	return bpf_map_lookup_elem(&traces, &at);
}

static __always_inline struct note *way_of(const struct trail *t)
{
	struct trace *found = trace_of(t, 0);

	return found ? &found->far[(t->way >> 32) * WAYS >> 32] : 0;
}

static __always_inline int is_of(const struct note *n, __u64 mark, __u64 *held)
{
	*held = *(const volatile __u64 *)&n->held;
	return (*(const volatile __u64 *)&n->sealed ^ *held) == mark;
}

static __always_inline void keep(struct note *n, __u64 mark, __u64 until, __u32 level)
{
	__u64 held = until << LEVEL_BITS | level;

	n->held = held;
	n->sealed = mark ^ held;
}

/* The level of an address that is in debt; EDGED_OPEN: nothing is known. Who is not at home is looked for next door only
 * while another's debt is there. */
static __always_inline __u32 in_debt(const struct trail *t, __u64 now)
{
	const struct trace *found = trace_of(t, 0);
	__u64 held;

	if (found && !is_of(&found->debt, t->sender, &held))
		found = held >> LEVEL_BITS > now ? trace_of(t, 1) : 0;
	if (!found || !is_of(&found->debt, t->sender, &held))
		return EDGED_OPEN;
	return now < held >> LEVEL_BITS ? held & ((1 << LEVEL_BITS) - 1) : EDGED_OPEN;
}

/* Whether the destination is neither the gateway nor in a garden of `level`, for all that is remembered. What holds for
 * walled subscribers holds for blocked ones, who have fewer gardens. */
static __always_inline int is_far(const struct trail *t, __u32 level, __u64 now)
{
	const struct note *n = way_of(t);
	__u64 held;

	return n && t->way && is_of(n, t->way, &held) && (held & ((1 << LEVEL_BITS) - 1)) <= level &&
	       now < held >> LEVEL_BITS;
}

static __always_inline void note_far(const struct packet *p, __u32 level)
{
	struct note *n = way_of(&p->trail);

	if (n && p->trail.way)
		keep(n, p->trail.way, p->now + LASTS, level);
}

/* Nothing more for this address until its rate allows it, or its promise ends. One that has no place beside another goes
 * next door; the newest wins. */
static __always_inline void note_debt(const struct packet *p, const struct edged_entry *e, __u64 burst, __u32 level)
{
	const struct trail *t = &p->trail;
	struct trace *found = trace_of(t, 0);
	__u64 until = allowed_at(e->tat, burst, p->now), held;

	if (e->until > p->now && e->until < until)
		until = e->until;
	if (found && !is_of(&found->debt, t->sender, &held) && held >> LEVEL_BITS > p->now)
		found = trace_of(t, 1);
	if (found && t->way)
		keep(&found->debt, t->sender, until, level);
}

#endif
