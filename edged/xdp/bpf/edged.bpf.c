// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* HTTP of restricted subscribers, answered before the stack: without sockets, without connection tracking, and, until
 * a client has proved its address, without a trace.
 *
 *    SYN                                     ► SYN-ACK whose number is the kernel's SYN cookie
 *    ACK with that cookie, no data           ► nothing
 *    first data with that cookie             ► 302 and FIN in one segment; noted in `answered`
 *    FIN, more data of a noted connection    ► ACK
 *    ACK of a noted connection               ► nothing
 *    pieces that overtook their request      ► nothing: the client sends them again
 *    everything else                         ► pass: the nft rules, which alone are right, decide
 *
 * Laws. Passing is always right. Nothing is answered that does not come from a restricted address, on a link and in a
 * frame that subscribers use, to the HTTP port of an address that is neither the gateway's nor in a garden. An address
 * that proved nothing gets at most one SYN-ACK for each SYN. A repeated packet gets the same answer. No RST, ever.
 */
#include "frame.h"
#include "maps.h"
#include "answer.h"

#define NS_PER_TICK_BITS 30
#define QUIET_TICKS 3 /* for so long after a SYN a piece without its request counts as one that overtook it */

static __always_inline int level_of(const struct edged_entry *e, __u64 now)
{
	return e->until && now < e->until ? e->lift : e->level;
}

static __always_inline int expected(const struct edged_link *link, const struct frame *f, const __u8 *to)
{
	__u64 mac = 0, ours = 0;

	__builtin_memcpy(&mac, to, 6);
	_Pragma("unroll") for (int i = 0; i < EDGED_MACS; i++)
		ours |= *(const __u64 *)link->macs[i] == mac;
	if (!ours || !mac || !(link->flags & f->kind))
		return 0;
	return f->kind & (EDGED_LINK_PLAIN | EDGED_LINK_PPPOE) || link->vlans[(f->vlan >> 6) & 63] >> (f->vlan & 63) & 1;
}

/* Whether an address may have one packet more (GCRA); lost updates between processors let a few more through. */
static __always_inline int within_rate(struct edged_entry *e, const struct edged_settings *s, __u64 now)
{
	__u64 tat = e->tat > now ? e->tat : now;

	if (tat - now > s->burst)
		return 0;
	e->tat = tat + s->cost;
	return 1;
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

/* The header of a SYN with its options, as the helper wants it. */
static __always_inline int copy_header(struct xdp_md *ctx, struct packet *p)
{
	__u32 size = p->s.header;

	FRESH(size);
	if (size < sizeof(struct tcphdr) || size > 60)
		return -1;
	return bpf_xdp_load_bytes(ctx, p->s.at - size, p->tcp, size);
}

static __always_inline int cookie_is_ours(struct xdp_md *ctx, struct packet *p)
{
	struct tcphdr tcp;

	if (bpf_xdp_load_bytes(ctx, p->s.at - p->s.header, &tcp, sizeof(tcp)))
		return 0;
	return !(p->s.family == 4 ? bpf_tcp_raw_check_syncookie_ipv4(&p->ip4, &tcp) :
				    bpf_tcp_raw_check_syncookie_ipv6(&p->ip6, &tcp));
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

SEPARATE int on_syn(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e)
{
	__s64 cookie;

	if (!p || !s || !e)
		return XDP_PASS;
	if (!within_rate(e, s, p->now))
		return counted(EDGED_DROP_RATE, XDP_DROP);
	if (!leads_on(ctx, p))
		return counted(EDGED_PASS_LOCAL, XDP_PASS);
	if (copy_header(ctx, p))
		return counted(EDGED_PASS_ODD, XDP_PASS);
	if (p->s.family == 4)
		cookie = bpf_tcp_raw_gen_syncookie_ipv4(&p->ip4, (void *)p->tcp, p->s.header & 63);
	else
		cookie = bpf_tcp_raw_gen_syncookie_ipv6(&p->ip6, (void *)p->tcp, p->s.header & 63);
	/* the number's upper half is the largest segment the client takes: an answer must fit into one */
	if (cookie < 0 || (cookie >> 32 & 0xffff) < longest(s))
		return counted(EDGED_PASS_ODD, XDP_PASS);
	e->heard = p->now >> NS_PER_TICK_BITS;
	return send_syn_ack(ctx, p, (__u32)cookie);
}

/* The answer that the first bytes of a request deserve, and whether they are all of it. */
static __always_inline __u32 judged(struct xdp_md *ctx, const struct packet *p, int *action)
{
	__u32 at = p->s.at, size = p->s.data;
	union bytes8 first = {};
	__u32 last = 0;

	*action = EDGED_REDIRECT_EARLY;
	if (size >= sizeof(first)) {
		if (bpf_xdp_load_bytes(ctx, at, &first, sizeof(first)) ||
		    bpf_xdp_load_bytes(ctx, at + size - sizeof(last), &last, sizeof(last)))
			return EDGED_ANSWERS;
	} else {
		_Pragma("unroll") for (int i = 0; i < 8; i++)
			if (i < size && bpf_xdp_load_bytes(ctx, at + i, first.c + i, 1))
				return EDGED_ANSWERS;
	}
	if (last == TEXT4('\r', '\n', '\r', '\n'))
		*action = EDGED_REDIRECT;
	if (first.word == TEXT4('G', 'E', 'T', ' '))
		return EDGED_FOUND;
	if (first.word == TEXT4('H', 'E', 'A', 'D') && first.c[4] == ' ')
		return EDGED_FOUND_NO_BODY;
	*action = EDGED_REDIRECT_EARLY;
	if (!begins_request(&first, size)) {
		*action = EDGED_REFUSED;
		return EDGED_BAD;
	}
	return EDGED_FOUND;
}

static __always_inline int on_request(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s,
				      struct edged_entry *e, __u64 hash)
{
	const struct edged_text *text;
	int action, fate;
	__u32 which;

	which = judged(ctx, p, &action);
	if (which >= EDGED_ANSWERS)
		return counted(EDGED_PASS_ODD, XDP_PASS);
	text = &s->answers[which];
	if (p->s.window < text->length) {
		/* it will ask again, and say how much it can take by then */
		e->heard = p->now >> NS_PER_TICK_BITS;
		return counted(EDGED_DROP_EARLY, XDP_DROP);
	}
	if (!within_rate(e, s, p->now))
		return counted(EDGED_DROP_RATE, XDP_DROP);
	fate = send_text(ctx, p, text);
	if (fate == XDP_PASS && which != EDGED_BAD) {
		which = EDGED_SHORT;
		fate = send_text(ctx, p, &s->answers[EDGED_SHORT]);
	}
	if (fate != XDP_TX)
		return counted(EDGED_PASS_ODD, fate);
	note(hash, p->s.ack, which);
	return counted(action, fate);
}

/* Data or a FIN of an answered connection that has not seen the answer yet: perhaps it was lost, and an acknowledgement
 * alone would let the client wait for it for ever. */
static __always_inline int on_unheard(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s,
				      struct edged_entry *e, __u32 which)
{
	int fate;

	if (which >= EDGED_ANSWERS || p->s.window < s->answers[which].length || !within_rate(e, s, p->now))
		return counted(EDGED_DROP_RATE, XDP_DROP);
	fate = send_text(ctx, p, &s->answers[which]);
	if (fate == XDP_PASS && which != EDGED_BAD)
		fate = send_text(ctx, p, &s->answers[EDGED_SHORT]);
	return counted(fate == XDP_TX ? EDGED_REPEAT : EDGED_PASS_ODD, fate);
}

/* Anything with an ACK that is neither SYN nor RST. */
SEPARATE int on_segment(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e)
{
	__u32 base = 0, which = 0;
	int ours, fin;
	__u64 hash;

	if (!p || !s || !e)
		return XDP_PASS;
	hash = p->s.family == 4 ? hash4(s->seed, &p->ip4, &p->s) : hash6(s->seed, &p->ip6, &p->s);
	ours = noted(hash, &base, &which) && p->s.ack - base <= EDGED_ANSWER + 1;
	fin = p->s.flags & TCP_FIN;

	/* the first data, also when it comes again: its number and ours are those of the cookie */
	if (!ours || (p->s.data && p->s.ack == base)) {
		if (cookie_is_ours(ctx, p)) {
			/* the kernel's own cookies are the same: this may be a server of the gateway under attack */
			if (!leads_on(ctx, p))
				return counted(EDGED_PASS_LOCAL, XDP_PASS);
			if (p->s.data)
				return on_request(ctx, p, s, e, hash);
			e->heard = p->now >> NS_PER_TICK_BITS;
			if (!fin)
				return counted(EDGED_DROP_ACK, XDP_DROP);
			return send_ack(ctx, p, TCP_FIN);
		}
	}
	if (ours) {
		if (!fin && !p->s.data)
			return counted(EDGED_DROP_ACK, XDP_DROP);
		if (p->s.ack == base)
			return on_unheard(ctx, p, s, e, which);
		return send_ack(ctx, p, 0);
	}
	if ((__u32)(p->now >> NS_PER_TICK_BITS) - e->heard < QUIET_TICKS && leads_on(ctx, p) && !known_to_a_socket(ctx, p))
		return counted(EDGED_DROP_EARLY, XDP_DROP);
	return counted(EDGED_PASS_SOCKET, XDP_PASS);
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

/* A blocked subscriber's packet that is not HTTP's: within the rate it passes and is refused politely by the rules. */
SEPARATE int on_blocked(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e,
			__u32 slot)
{
	if (!p || !s || !e || level_of(e, p->now) != EDGED_BLOCKED || stays_near(p) || within_rate(e, s, p->now))
		return XDP_PASS;
	if (in_garden(p, s, slot, EDGED_BLOCKED) || !leads_on(ctx, p))
		return XDP_PASS;
	return counted(EDGED_DROP_BLOCKED_RATE, XDP_DROP);
}

SEPARATE int on_http(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e,
		     __u32 slot)
{
	int level;

	if (!p || !s || !e)
		return XDP_PASS;
	level = level_of(e, p->now);
	if (level != EDGED_WALLED && level != EDGED_BLOCKED)
		return counted(EDGED_PASS_OPEN, XDP_PASS);
	if (stays_near(p))
		return counted(EDGED_PASS_LOCAL, XDP_PASS);
	if (in_garden(p, s, slot, level))
		return counted(EDGED_PASS_GARDEN, XDP_PASS);
	if ((p->s.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		return on_syn(ctx, p, s, e);
	if ((p->s.flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK)
		return on_segment(ctx, p, s, e);
	return counted(EDGED_PASS_SOCKET, XDP_PASS);
}

SEC("xdp")
int edged_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, arrived = ctx->ingress_ifindex, slot, at, bytes, *number;
	struct edged_settings *settled;
	struct edged_entry *e;
	struct edged_link *link;
	struct ipv6hdr *ip6 = 0;
	struct iphdr *ip4 = 0;
	struct packet *p;
	struct frame f;
	void *restricted;
	int http;

	if (read_frame(data, end, &f))
		return XDP_PASS;
	number = bpf_map_lookup_elem(&live, &zero);
	if (!number || *number >= EDGED_SLOTS)
		return XDP_PASS;
	slot = *number;
	settled = bpf_map_lookup_elem(&settings, &slot);
	if (!settled || settled->layout != EDGED_LAYOUT)
		return XDP_PASS;

	if (f.ether == ETH_P_IP) {
		ip4 = data + f.l2;
		if ((void *)(ip4 + 1) > end)
			return XDP_PASS;
		bytes = bpf_ntohs(ip4->tot_len) - sizeof(*ip4);
		http = ip4->protocol == IPPROTO_TCP && bytes < 0x10000;
		at = f.l2 + sizeof(*ip4);
	} else {
		ip6 = data + f.l2;
		if ((void *)(ip6 + 1) > end)
			return XDP_PASS;
		bytes = bpf_ntohs(ip6->payload_len);
		http = ip6->nexthdr == IPPROTO_TCP;
		at = f.l2 + sizeof(*ip6);
	}
	http = http && goes_to(data, end, at, settled->port);
	if (!http && !(settled->flags & EDGED_DROP_BLOCKED))
		return XDP_PASS; /* nearly everything, without a single lookup */

	/* who is open pays for one lookup and for nothing else */
	restricted = ip4 ? bpf_map_lookup_elem(&restricted4, &slot) : bpf_map_lookup_elem(&restricted6, &slot);
	if (!restricted)
		return XDP_PASS;
	if (ip4)
		e = entry4(restricted, ip4->saddr);
	else if (ip6)
		e = entry6(restricted, settled, &ip6->saddr);
	else
		return XDP_PASS;
	if (!e)
		return http ? counted(EDGED_PASS_OPEN, XDP_PASS) : XDP_PASS;

	link = bpf_map_lookup_elem(&links, &arrived);
	p = bpf_map_lookup_elem(&in_hand, &zero);
	if (!link || !p || !expected(link, &f, data))
		return XDP_PASS;
	p->now = bpf_ktime_get_ns();
	p->f = f;
	if (ip4) {
		http = http && is_plain4(ip4);
		p->ip4 = *ip4;
	} else if (ip6) {
		http = http && ip6->version == 6;
		p->ip6 = *ip6;
	}
	p->s.family = ip4 ? 4 : 6;
	if (http && !read_segment(data, end, at, bytes & 0xffff, &p->s))
		return on_http(ctx, p, settled, e, slot);
	return settled->flags & EDGED_DROP_BLOCKED ? on_blocked(ctx, p, settled, e, slot) : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
