/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The four packets that are sent. The frame that came becomes the answer: same tags, same session, ends exchanged. */
#ifndef EDGED_ANSWER_H
#define EDGED_ANSWER_H

#include "maps.h"

#define SMALLEST 60 /* bytes of an Ethernet frame without its checksum */
#define HEAD_STEP 192 /* bytes that fit in front of any frame, beside what the kernel puts there itself */
#define MSS4 1460
#define MSS6 1440
#define PPPOE_BYTES 8
#define WINDOW 65535

static __always_inline __u32 longest(const struct edged_settings *s)
{
	return s->answers[EDGED_FOUND].length;
}

static __always_inline int keep_frame(struct xdp_md *ctx, const struct frame *f, __u8 l2[32])
{
	__u32 size = f->l2;

	FRESH(size);
	if (size < sizeof(struct ethhdr) || size > L2_ROOM)
		return -1;
	return bpf_xdp_load_bytes(ctx, 0, l2, size);
}

static __always_inline int put_frame(struct xdp_md *ctx, const struct frame *f, __u8 l2[32])
{
	__u32 size = f->l2;

	FRESH(size);
	if (size < sizeof(struct ethhdr) || size > L2_ROOM)
		return -1;
	return bpf_xdp_store_bytes(ctx, 0, l2, size);
}

/* Give the frame `bytes`, or its smallest size; what is before IP stays at its beginning. The rest is written anew, so it
 * may grow at either end: some drivers have no room at the tail, none much at the head. */
static __always_inline int resized(struct xdp_md *ctx, struct packet *p, __u32 bytes)
{
	int more = (int)(bytes < SMALLEST ? SMALLEST : bytes) - (int)(ctx->data_end - ctx->data);

	if (!more || !bpf_xdp_adjust_tail(ctx, more))
		return 0;
	if (more < 0 || keep_frame(ctx, &p->f, p->l2))
		return -1;
	if (!bpf_xdp_adjust_head(ctx, -more))
		return put_frame(ctx, &p->f, p->l2);
	if (more <= HEAD_STEP || bpf_xdp_adjust_head(ctx, -HEAD_STEP))
		return -1;
	if (!bpf_xdp_adjust_tail(ctx, more - HEAD_STEP))
		return put_frame(ctx, &p->f, p->l2);
	bpf_xdp_adjust_head(ctx, HEAD_STEP); /* as it was: it may pass */
	return -1;
}

static __always_inline void turn_ends(struct ethhdr *eth)
{
	__u32 four = *(__u32 *)eth->h_source;
	__u16 two = *(__u16 *)(eth->h_source + 4);

	*(__u32 *)eth->h_source = *(__u32 *)eth->h_dest;
	*(__u16 *)(eth->h_source + 4) = *(__u16 *)(eth->h_dest + 4);
	*(__u32 *)eth->h_dest = four;
	*(__u16 *)(eth->h_dest + 4) = two;
}

/* The headers are written field by field, straight into the frame, and their sums are made of the same numbers: reading
 * back what was just written in other pieces stops a processor. */
static __always_inline void write_ip4(struct iphdr *ip, const struct iphdr *came, __be16 length)
{
	const __be16 first = bpf_htons(0x4500), whole = bpf_htons(0x4000), last = bpf_htons(64 << 8 | IPPROTO_TCP);

	*(__be16 *)ip = first;
	ip->tot_len = length;
	ip->id = 0;
	ip->frag_off = whole;
	*(__be16 *)&ip->ttl = last;
	ip->check = ~folded((__u64)first + length + whole + last + came->saddr + came->daddr);
	ip->saddr = came->daddr;
	ip->daddr = came->saddr;
}

static __always_inline void write_ip6(struct ipv6hdr *ip, const struct ipv6hdr *came, __be16 length)
{
	*(__be32 *)ip = bpf_htonl(6 << 28);
	ip->payload_len = length;
	*(__be16 *)&ip->nexthdr = bpf_htons(IPPROTO_TCP << 8 | 64);
	ip->saddr = came->daddr;
	ip->daddr = came->saddr;
}

/* `sum`: of everything else that the checksum is over. */
static __always_inline void write_tcp(struct tcphdr *t, const struct segment *s, const struct reply *r, __u32 words,
				      __u64 sum)
{
	const __be32 seq = bpf_htonl(r->seq), ack = bpf_htonl(r->ack);
	const __be16 flags = bpf_htons(words << 12 | r->flags), window = bpf_htons(WINDOW);

	sum += (__u64)s->dport + s->sport + seq + ack + flags + window;
	t->source = s->dport;
	t->dest = s->sport;
	t->seq = seq;
	t->ack_seq = ack;
	((__be16 *)t)[6] = flags;
	t->window = window;
	t->check = ~folded(sum);
	t->urg_ptr = 0;
}

/* Send what p->r says; `text` may be 0. Passes when the frame cannot be made fit, which is found out before anything of it is
 * changed. */
SEPARATE int sent(struct xdp_md *ctx, struct packet *p, const struct edged_text *text)
{
	__u32 tcp = sizeof(struct tcphdr), length, ip, l2;
	void *data, *end, *at;
	struct mss largest = {.kind = 2, .size = 4}, *option = 0;
	__be16 session;
	__u64 sum;
	int six;

	if (!p)
		return XDP_PASS;
	six = p->s.family == 6;
	ip = six ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	length = text ? text->length : 0;
	sum = bpf_htons(IPPROTO_TCP) + (text ? (__u64)text->sum : 0);
	if (p->r.option) {
		tcp += sizeof(struct mss);
		largest.value = bpf_htons((six ? MSS6 : MSS4) - (p->f.pppoe ? PPPOE_BYTES : 0));
		sum += bpf_htons(0x0204) + largest.value;
	}
	if (length > EDGED_ANSWER)
		return XDP_PASS;
	l2 = p->f.l2;
	FRESH(l2);
	if (l2 < sizeof(struct ethhdr) || l2 > L2_ROOM || resized(ctx, p, l2 + ip + tcp + length))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	at = data + l2;
	if (data + sizeof(struct ethhdr) > end)
		return XDP_DROP;
	turn_ends(data);
	sum += bpf_htons(tcp + length);
	if (six) {
		struct head6 *h = at;

		if ((void *)&h->mss > end)
			return XDP_DROP;
		write_ip6(&h->ip, &p->ip6, bpf_htons(tcp + length));
		sum += SUM(&p->ip6.saddr, 32);
		write_tcp(&h->tcp, &p->s, &p->r, tcp / 4, sum);
		option = &h->mss;
	} else {
		struct head4 *h = at;

		if ((void *)&h->mss > end)
			return XDP_DROP;
		write_ip4(&h->ip, &p->ip4, bpf_htons(ip + tcp + length));
		sum += (__u64)p->ip4.saddr + p->ip4.daddr;
		write_tcp(&h->tcp, &p->s, &p->r, tcp / 4, sum);
		option = &h->mss;
	}
	if (p->r.option) {
		if ((void *)(option + 1) > end)
			return XDP_DROP;
		*option = largest;
	}
	if (p->f.pppoe) {
		session = bpf_htons(ip + tcp + length + 2); /* with the protocol number */
		if (bpf_xdp_store_bytes(ctx, l2 - 4, &session, sizeof(session)))
			return XDP_DROP;
	}
	if (length && text) {
		FRESH(length);
		if (!length || length > EDGED_ANSWER ||
		    bpf_xdp_store_bytes(ctx, l2 + ip + tcp, (void *)text->bytes, length))
			return XDP_DROP;
	}
	return XDP_TX;
}

/* What came is acknowledged, and a FIN that came with it. */
static __always_inline __u32 all_of(const struct segment *s)
{
	return s->seq + s->data + (s->flags & TCP_FIN ? 1 : 0);
}

static __always_inline int send_syn_ack(struct xdp_md *ctx, struct packet *p, __u32 cookie)
{
	int fate;

	p->r = (struct reply){.seq = cookie, .ack = p->s.seq + 1, .flags = TCP_SYN | TCP_ACK, .option = 1};
	fate = sent(ctx, p, 0);
	return counted(fate == XDP_TX ? EDGED_SYN_ACK : EDGED_PASS_ODD, fate);
}

/* The whole answer and our FIN in one segment. */
static __always_inline int send_text(struct xdp_md *ctx, struct packet *p, const struct edged_text *text)
{
	p->r = (struct reply){.seq = p->s.ack, .ack = all_of(&p->s), .flags = TCP_ACK | TCP_PSH | TCP_FIN};
	return sent(ctx, p, text);
}

static __always_inline int send_ack(struct xdp_md *ctx, struct packet *p, __u32 more)
{
	int fate;

	p->r = (struct reply){.seq = p->s.ack, .ack = all_of(&p->s), .flags = TCP_ACK | more};
	fate = sent(ctx, p, 0);
	return counted(fate == XDP_TX ? EDGED_ACK : EDGED_PASS_ODD, fate);
}

#endif
