/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Who sent a packet and where it goes: levels, rates, gardens, the gateway itself, sockets, cookies. */
#ifndef EDGED_WHO_H
#define EDGED_WHO_H

#include "maps.h"

static __always_inline int level_of(const struct edged_entry *e, __u64 now)
{
	return e->until && now < e->until ? e->lift : e->level;
}

/* Whether subscribers send such frames there: to an address of the gateway's, and from none of them. */
static __always_inline int expected(const struct edged_link *link, const struct frame *f, const __u8 *to)
{
	__u64 mac = 0, from = 0, ours = 0, own = 0;

	__builtin_memcpy(&mac, to, 6);
	__builtin_memcpy(&from, to + 6, 6);
	_Pragma("unroll") for (int i = 0; i < EDGED_MACS; i++) {
		ours |= *(const __u64 *)link->macs[i] == mac;
		own |= *(const __u64 *)link->macs[i] == from;
	}
	if (!ours || own || !mac || !(link->flags & f->kind))
		return 0;
	return f->kind & (EDGED_LINK_PLAIN | EDGED_LINK_PPPOE) || link->vlans[(f->vlan >> 6) & 63] >> (f->vlan & 63) & 1;
}

static __always_inline void mask(void *to, const struct in6_addr *from, const struct edged_mask *m)
{
	_Pragma("unroll") for (int i = 0; i < 4; i++)
		((__be32 *)to)[i] = from->in6_u.u6_addr32[i] & m->bits[i];
}

static __always_inline struct edged_entry *entry4(void *restricted, __be32 address)
{
	return bpf_map_lookup_elem(restricted, &address);
}

static __always_inline struct edged_entry *entry6(void *restricted, const struct edged_settings *s,
						  const struct in6_addr *address)
{
	struct edged_prefix key = {};
	struct edged_entry *e;

	for (int i = 0; i < EDGED_LENGTHS; i++) {
		if (i >= s->n_lengths6)
			break;
		key.length = s->lengths6[i].length;
		mask(key.address, address, &s->lengths6[i]);
		e = bpf_map_lookup_elem(restricted, &key);
		if (e)
			return e;
	}
	return 0;
}

/* Where a packet goes to; an IPv4 address in the first word. */
static __always_inline struct in6_addr target(const struct packet *p)
{
	struct in6_addr to = {};

	if (p->s.family == 4)
		to.in6_u.u6_addr32[0] = p->ip4.daddr;
	else
		to = p->ip6.daddr;
	return to;
}

/* Whether it goes to a garden that `level` may use. */
SEPARATE int in_garden(const struct packet *p, const struct edged_settings *s, __u32 slot, int level)
{
	__u32 wanted = level == EDGED_BLOCKED ? EDGED_GARDEN_OPEN : EDGED_GARDEN_OPEN | EDGED_GARDEN_WALLED;
	const struct edged_mask *m;
	struct edged_network key = {};
	struct in6_addr to;
	void *gardens;
	__u32 *found, lengths;

	if (!p || !s)
		return 1;
	gardens = bpf_map_lookup_elem(&gardens_of, &slot);
	if (!gardens)
		return 1;
	to = target(p);
	key.family = p->s.family;
	lengths = key.family == 4 ? s->n_gardens4 : s->n_gardens6;
	for (int i = 0; i < EDGED_GARDENS; i++) {
		if (i >= lengths)
			break;
		m = key.family == 4 ? &s->gardens4[i] : &s->gardens6[i];
		key.length = m->length;
		mask(key.address, &to, m);
		found = bpf_map_lookup_elem(gardens, &key);
		if (found && *found & wanted)
			return 1;
	}
	return 0;
}

/* Whether a socket of this host holds the connection; a listener does not. */
static __always_inline int held_by_socket(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	int held = 0;

	if (sk) {
		held = sk->state != BPF_TCP_LISTEN;
		bpf_sk_release(sk);
	}
	return held;
}

/* Make a cookie prove who hears the answer, not the ends alone: the kernel makes and checks it for addresses of which two
 * words have the sender's hash in them. Nobody but us knows by how much those of two senders differ. Once more: as it was. */
static __always_inline void disguise(struct packet *p)
{
	__u32 one = p->sender, two = p->sender >> 32;

	if (p->s.family == 4) {
		p->ip4.saddr ^= one;
		p->ip4.daddr ^= two;
	} else {
		p->ip6.saddr.in6_u.u6_addr32[3] ^= one;
		p->ip6.daddr.in6_u.u6_addr32[3] ^= two;
	}
}

static __always_inline __s64 cookie_of(struct packet *p, __u32 header)
{
	__s64 cookie;

	disguise(p);
	cookie = p->s.family == 4 ? bpf_tcp_raw_gen_syncookie_ipv4(&p->ip4, (void *)p->tcp, header) :
				   bpf_tcp_raw_gen_syncookie_ipv6(&p->ip6, (void *)p->tcp, header);
	disguise(p);
	return cookie;
}

/* The cookie for a client that takes the largest segments there are, whatever it said. A cookie is its connection's
 * number plus one of four sizes, so that the check takes a segment one behind for one with the next larger size: only
 * for the largest there is none, and a keepalive probe cannot be taken for the beginning of a request. */
static __always_inline __s64 largest_cookie(struct packet *p)
{
	const struct mss all = {.kind = 2, .size = 4, .value = 0xffff};
	struct tcphdr *t = (void *)p->tcp;

	t->source = p->s.sport; /* and nothing else of it counts */
	t->dest = p->s.dport;
	t->seq = bpf_htonl(p->s.seq);
	p->tcp[12] = (sizeof(*t) + sizeof(all)) / 4 << 4;
	__builtin_memcpy(p->tcp + sizeof(*t), &all, sizeof(all));
	return cookie_of(p, sizeof(*t) + sizeof(all));
}

#define LEAST4 536 /* RFC 9293, 3.7.1: of who says nothing; and the least that the helper ever tells */
#define LEAST6 1220

/* The largest segment that the sender of a SYN takes; 0: it cannot be told. Nearly everybody says it first of all options.
 * The helper looks for it behind others, at the price of a whole cookie, and tells the next smaller of a few sizes: below the
 * smallest, that one. */
static __always_inline __u32 largest_segment(struct xdp_md *ctx, struct packet *p)
{
	__u32 size = p->s.header, least = p->s.family == 4 ? LEAST4 : LEAST6, told;
	__s64 cookie;

	if (p->s.told.kind == 2 && p->s.told.size == sizeof(struct mss) && p->s.told.value)
		return bpf_ntohs(p->s.told.value);
	if (size == sizeof(struct tcphdr))
		return least;
	FRESH(size);
	if (size < sizeof(struct tcphdr) || size > 60 || bpf_xdp_load_bytes(ctx, p->s.at - size, p->tcp, size))
		return 0;
	cookie = cookie_of(p, size); /* in its upper half */
	told = cookie < 0 ? 0 : cookie >> 32 & 0xffff;
	return told > least ? told : 0;
}

/* Whether a segment acknowledges the cookie of its connection and comes from where that was sent to; `late`: how far its
 * number is behind. */
SEPARATE int cookie_is_ours(struct xdp_md *ctx, struct packet *p, __u32 late)
{
	struct tcphdr tcp;
	long wrong;

	if (!p || bpf_xdp_load_bytes(ctx, p->s.at - p->s.header, &tcp, sizeof(tcp)))
		return 0;
	tcp.seq = bpf_htonl(p->s.seq + late);
	disguise(p);
	wrong = p->s.family == 4 ? bpf_tcp_raw_check_syncookie_ipv4(&p->ip4, &tcp) :
				   bpf_tcp_raw_check_syncookie_ipv6(&p->ip6, &tcp);
	disguise(p);
	return !wrong;
}

/* Whether the gateway would send the packet on; the kernel's own tables know its addresses best. What it has no way for,
 * or may not forward, is left to the stack. */
SEPARATE int leads_on(struct xdp_md *ctx, const struct packet *p)
{
	struct bpf_fib_lookup way = {.l4_protocol = IPPROTO_TCP};

	if (!p)
		return 0;
	way.ifindex = ctx->ingress_ifindex;
	if (p->s.family == 4) {
		way.family = 2; /* AF_INET */
		way.ipv4_src = p->ip4.saddr;
		way.ipv4_dst = p->ip4.daddr;
	} else {
		way.family = 10; /* AF_INET6 */
		__builtin_memcpy(way.ipv6_src, &p->ip6.saddr, 16);
		__builtin_memcpy(way.ipv6_dst, &p->ip6.daddr, 16);
	}
	switch (bpf_fib_lookup(ctx, &way, sizeof(way), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return 1;
	}
	return 0;
}

static __always_inline int known_to_a_socket(struct xdp_md *ctx, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};

	if (p->s.family == 4) {
		tuple.ipv4.saddr = p->ip4.saddr;
		tuple.ipv4.daddr = p->ip4.daddr;
		tuple.ipv4.sport = p->s.sport;
		tuple.ipv4.dport = p->s.dport;
		return held_by_socket(ctx, &tuple, sizeof(tuple.ipv4));
	}
	__builtin_memcpy(tuple.ipv6.saddr, &p->ip6.saddr, 16);
	__builtin_memcpy(tuple.ipv6.daddr, &p->ip6.daddr, 16);
	tuple.ipv6.sport = p->s.sport;
	tuple.ipv6.dport = p->s.dport;
	return held_by_socket(ctx, &tuple, sizeof(tuple.ipv6));
}

static __always_inline int is_group4(__be32 address)
{
	__u8 first = *(__u8 *)&address;

	return first >= 224 || first == 127 || !address;
}

static __always_inline int is_near6(const struct in6_addr *a)
{
	__be32 first = a->in6_u.u6_addr32[0];

	/* multicast, link-local, and ::/32 (unspecified, loopback, mapped) */
	return (first & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000) ||
	       (first & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) || !first;
}

/* Whether it goes to nobody in particular, or to somebody on the link itself. */
static __always_inline int stays_near(const struct packet *p)
{
	return p->s.family == 4 ? is_group4(p->ip4.daddr) : is_near6(&p->ip6.daddr);
}

#endif
