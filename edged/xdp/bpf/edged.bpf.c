// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* HTTP of restricted subscribers, answered before the stack: without sockets, without connection tracking, and, until
 * a client has proved its address, without a trace.
 *
 *    SYN                                     ► SYN-ACK whose number is the kernel's SYN cookie, for this sender
 *    ACK with that cookie, no data           ► nothing
 *    first data with that cookie             ► 302 and FIN in one segment; noted in `answered`
 *    FIN, more data of a noted connection    ► ACK
 *    keepalive probe with that cookie        ► ACK
 *    ACK of a noted connection               ► nothing
 *    pieces that overtook their request      ► nothing: the client sends them again
 *    everything else                         ► pass: the nft rules, which alone are right, decide
 *
 * Laws. Passing is always right. Nothing is answered that does not come from a restricted address, on a link and in a
 * frame that subscribers use, to the HTTP port of an address that is neither the gateway's nor in a garden. An address
 * that proved nothing gets at most one SYN-ACK for each SYN, and uses up nothing that proven requests need. A repeated
 * packet gets the same answer. No RST, ever.
 */
#include "frame.h"
#include "maps.h"
#include "rate.h"
#include "flood.h"
#include "who.h"
#include "answer.h"
#include "line.h"

#define NS_PER_TICK_BITS 30
#define QUIET_TICKS 3 /* for so long after a SYN a piece without its request counts as one that overtook it */

SEPARATE int on_syn(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e,
		    int level)
{
	__s64 cookie;

	if (!p || !s || !e)
		return XDP_PASS;
	if (!within_rate(&e->tat, s, s->burst, p->now)) {
		note_debt(p, e, s->burst, level);
		return counted(EDGED_DROP_RATE, XDP_DROP);
	}
	if (beyond(e->tat, s, s->burst, p->now)) /* the next one would be */
		note_debt(p, e, s->burst, level);
	/* an answer must fit into one segment */
	if (largest_segment(ctx, p) < longest(s))
		return counted(EDGED_PASS_ODD, XDP_PASS);
	cookie = largest_cookie(p);
	if (cookie < 0)
		return counted(EDGED_PASS_ODD, XDP_PASS);
	e->heard = p->now >> NS_PER_TICK_BITS;
	return send_syn_ack(ctx, p, (__u32)cookie);
}

static __always_inline int on_request(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s,
				      struct edged_entry *e, __u64 hash)
{
	const struct edged_text *text;
	int action, fate;
	__u32 which;

	which = judged(ctx, p);
	action = p->r.action;
	if (which >= EDGED_ANSWERS)
		return counted(EDGED_PASS_ODD, XDP_PASS);
	text = &s->answers[which];
	if (p->s.window < text->length) {
		/* it will ask again, and say how much it can take by then */
		e->heard = p->now >> NS_PER_TICK_BITS;
		return counted(EDGED_DROP_EARLY, XDP_DROP);
	}
	if (!within_rate(&e->proven, s, s->burst, p->now))
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

	if (which >= EDGED_ANSWERS || p->s.window < s->answers[which].length ||
	    !within_rate(&e->proven, s, s->burst, p->now))
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
	hash = p->s.family == 4 ? hash4(p->sender, &p->ip4, &p->s) : hash6(p->sender, &p->ip6, &p->s);
	ours = noted(hash, &base, &which) && p->s.ack - base <= EDGED_ANSWER + 1;
	fin = p->s.flags & TCP_FIN;

	/* the first data, also when it comes again: its number and ours are those of the cookie */
	if (!ours || (p->s.data && p->s.ack == base)) {
		if (cookie_is_ours(ctx, p, 0)) {
			/* since its SYN the address may have become the gateway's own, or have no way any more */
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
	/* a keepalive probe of a connection that has asked nothing yet: the byte before its next one, often left out */
	if (!ours && !fin && p->s.data <= 1 && cookie_is_ours(ctx, p, 1) && leads_on(ctx, p)) {
		p->s.data = 1;
		return send_ack(ctx, p, 0);
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

/* Whether what is beyond the rate goes to where it may be dropped. */
SEPARATE int found_far(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, __u32 slot, int level)
{
	if (!p || !s || stays_near(p) || in_garden(p, s, slot, level) || !leads_on(ctx, p))
		return 0;
	note_far(p, level);
	return 1;
}

/* A blocked subscriber's packet that is not HTTP's: within the rate it passes and is refused politely by the rules. Only
 * what they would refuse is charged, and up to half the burst: the other half is left for SYNs, so that no such flood,
 * and no call that gropes for its server, takes the notice page away. */
SEPARATE int on_blocked(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e,
			__u32 slot)
{
	if (!p || !s || !e || level_of(e, p->now) != EDGED_BLOCKED || stays_near(p))
		return XDP_PASS;
	if (!is_far(&p->trail, EDGED_BLOCKED, p->now)) {
		if (in_garden(p, s, slot, EDGED_BLOCKED) || !leads_on(ctx, p))
			return XDP_PASS;
		note_far(p, EDGED_BLOCKED);
	}
	if (within_rate(&e->tat, s, s->burst / 2, p->now))
		return XDP_PASS;
	note_debt(p, e, s->burst / 2, EDGED_BLOCKED);
	return counted(EDGED_DROP_BLOCKED_RATE, XDP_DROP);
}

SEPARATE int on_http(struct xdp_md *ctx, struct packet *p, const struct edged_settings *s, struct edged_entry *e,
		     __u32 slot)
{
	int level, syn;

	if (!p || !s || !e)
		return XDP_PASS;
	level = level_of(e, p->now);
	if (level != EDGED_WALLED && level != EDGED_BLOCKED)
		return counted(EDGED_PASS_OPEN, XDP_PASS);
	if (stays_near(p))
		return counted(EDGED_PASS_LOCAL, XDP_PASS);
	syn = is_syn(p->s.flags);
	if (!syn || !is_far(&p->trail, level, p->now)) {
		if (in_garden(p, s, slot, level))
			return counted(EDGED_PASS_GARDEN, XDP_PASS);
		if (syn && !leads_on(ctx, p))
			return counted(EDGED_PASS_LOCAL, XDP_PASS);
		if (syn)
			note_far(p, level);
	}
	if (syn)
		return on_syn(ctx, p, s, e, level);
	if ((p->s.flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK)
		return on_segment(ctx, p, s, e);
	return counted(EDGED_PASS_SOCKET, XDP_PASS);
}

/* Whether all of a segment is as it should be: what is remembered counts only then. The checksum does not matter: where it
 * is wrong the stack would drop it. */
static __always_inline int is_whole(void *data, void *end, __u32 at, __u32 bytes, const struct iphdr *ip4,
				    const struct ipv6hdr *ip6)
{
	struct segment s;

	return (ip4 ? is_simple4(ip4) : ip6 && ip6->version == 6) && !read_segment(data, end, at, bytes, &s);
}

static __always_inline void keep_ends(struct packet *p, const struct iphdr *ip4, const struct ipv6hdr *ip6)
{
	if (ip4)
		p->ip4 = *ip4;
	else if (ip6)
		p->ip6 = *ip6;
	p->s.family = ip4 ? 4 : 6;
}

SEC("xdp")
int edged_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, arrived = ctx->ingress_ifindex, slot, at, bytes;
	struct edged_settings *settled;
	struct edged_entry *e;
	struct edged_link *link;
	struct ipv6hdr *ip6 = 0;
	struct iphdr *ip4 = 0;
	struct packet *p;
	struct frame f;
	void *restricted;
	struct edged_live *now, current;
	__u64 both;
	int http, flags, syn, level;

	if (read_frame(data, end, &f))
		return XDP_PASS;
	now = bpf_map_lookup_elem(&live, &zero);
	if (!now)
		return XDP_PASS;
	both = *(const volatile __u64 *)now; /* at once: what is learnt from these maps is remembered under their number */
	__builtin_memcpy(&current, &both, sizeof(current));
	slot = current.slot;
	if (slot >= EDGED_SLOTS)
		return XDP_PASS;
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
	flags = http ? flags_to(data, end, at, settled->port) : -1;
	http = flags >= 0;
	if (!http && !(settled->flags & EDGED_DROP_BLOCKED))
		return XDP_PASS; /* nearly everything, without a single lookup */

	syn = http && is_syn(flags);
	p = bpf_map_lookup_elem(&in_hand, &zero);
	if (!p)
		return XDP_PASS;
	p->now = bpf_ktime_get_coarse_ns();
	if (syn || !http) {
		follow(&p->trail, current.changes, settled, arrived, &f, data, syn, ip4, ip6);
		level = in_debt(&p->trail, p->now);
		if (level && (!syn || is_whole(data, end, at, bytes & 0xffff, ip4, ip6))) {
			if (is_far(&p->trail, level, p->now))
				return counted(syn ? EDGED_DROP_RATE : EDGED_DROP_BLOCKED_RATE, XDP_DROP);
			keep_ends(p, ip4, ip6);
			if (found_far(ctx, p, settled, slot, level))
				return counted(syn ? EDGED_DROP_RATE : EDGED_DROP_BLOCKED_RATE, XDP_DROP);
		}
	}

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
	if (!link || !expected(link, &f, data))
		return XDP_PASS;
	p->f = f;
	p->sender = sender_of(settled->seed, &f, data);
	keep_ends(p, ip4, ip6);
	if (ip4)
		http = http && is_plain4(ip4);
	else if (ip6)
		http = http && ip6->version == 6;
	if (http && !read_segment(data, end, at, bytes & 0xffff, &p->s))
		return on_http(ctx, p, settled, e, slot);
	if (flags >= 0)
		p->trail.way = 0; /* broken HTTP is no sign of anything */
	return settled->flags & EDGED_DROP_BLOCKED ? on_blocked(ctx, p, settled, e, slot) : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
