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

/* Give the frame `bytes`, or its smallest size. Its contents are written anew, so it may grow at either end: some
 * drivers have no room at the tail, none much at the head. */
static __always_inline int resized(struct xdp_md *ctx, __u32 bytes)
{
	int more = (int)(bytes < SMALLEST ? SMALLEST : bytes) - (int)(ctx->data_end - ctx->data);

	if (!more || !bpf_xdp_adjust_tail(ctx, more))
		return 0;
	if (more < 0)
		return -1;
	if (!bpf_xdp_adjust_head(ctx, -more))
		return 0;
	if (more <= HEAD_STEP || bpf_xdp_adjust_head(ctx, -HEAD_STEP))
		return -1;
	if (!bpf_xdp_adjust_tail(ctx, more - HEAD_STEP))
		return 0;
	bpf_xdp_adjust_head(ctx, HEAD_STEP); /* as it was: it may pass */
	return -1;
}

/* Everything before IP, on its way back. `packet`: bytes of the IP packet inside. */
static __always_inline int turn_frame(struct xdp_md *ctx, const struct frame *f, __u8 l2[32], __u32 packet)
{
	__be16 length = bpf_htons(packet + 2); /* of a PPPoE payload: with the protocol number */
	__u32 size = f->l2;
	__u8 from[6];

	__builtin_memcpy(from, l2 + 6, 6);
	__builtin_memcpy(l2 + 6, l2, 6);
	__builtin_memcpy(l2, from, 6);
	FRESH(size);
	if (size < sizeof(struct ethhdr) || size > L2_ROOM || bpf_xdp_store_bytes(ctx, 0, l2, size))
		return -1;
	return f->pppoe ? bpf_xdp_store_bytes(ctx, size - 4, &length, sizeof(length)) : 0;
}

static __always_inline int keep_frame(struct xdp_md *ctx, const struct frame *f, __u8 l2[32])
{
	__u32 size = f->l2;

	FRESH(size);
	if (size < sizeof(struct ethhdr) || size > L2_ROOM)
		return -1;
	return bpf_xdp_load_bytes(ctx, 0, l2, size);
}

static __always_inline void head_of_tcp(struct tcphdr *t, const struct segment *s, const struct reply *r, __u32 words)
{
	t->source = s->dport;
	t->dest = s->sport;
	t->seq = bpf_htonl(r->seq);
	t->ack_seq = bpf_htonl(r->ack);
	((__u8 *)t)[12] = words << 4;
	((__u8 *)t)[13] = r->flags;
	t->window = bpf_htons(WINDOW);
	t->check = 0;
	t->urg_ptr = 0;
}

/* Send what p->r says; `text` may be 0. Passes when the frame cannot be made fit, which is found out before anything of it is
 * changed. */
SEPARATE int sent(struct xdp_md *ctx, struct packet *p, const struct edged_text *text)
{
	__u32 tcp, length, ip, head;
	struct mss largest = {.kind = 2, .size = 4};
	__u64 sum;
	int six;

	if (!p)
		return XDP_PASS;
	six = p->s.family == 6;
	tcp = sizeof(struct tcphdr) + (p->r.option ? sizeof(struct mss) : 0);
	ip = six ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	largest.value = bpf_htons((six ? MSS6 : MSS4) - (p->f.pppoe ? PPPOE_BYTES : 0));
	length = text ? text->length : 0;
	sum = bpf_htons(IPPROTO_TCP) + (text ? (__u64)text->sum : 0);
	if (length > EDGED_ANSWER || keep_frame(ctx, &p->f, p->l2))
		return XDP_PASS;
	if (resized(ctx, p->f.l2 + ip + tcp + length))
		return XDP_PASS;
	sum += bpf_htons(tcp + length);
	if (six) {
		struct head6 *h = &p->out6;

		__builtin_memset(&h->ip, 0, sizeof(h->ip));
		h->mss = largest;
		h->ip.version = 6;
		h->ip.payload_len = bpf_htons(tcp + length);
		h->ip.nexthdr = IPPROTO_TCP;
		h->ip.hop_limit = 64;
		h->ip.saddr = p->ip6.daddr;
		h->ip.daddr = p->ip6.saddr;
		head_of_tcp(&h->tcp, &p->s, &p->r, tcp / 4);
		sum += SUM(&h->ip.saddr, 32) + SUM(&h->tcp, sizeof(h->tcp));
		sum += p->r.option ? SUM(&h->mss, sizeof(h->mss)) : 0;
		h->tcp.check = ~folded(sum);
	} else {
		struct head4 *h = &p->out4;

		__builtin_memset(&h->ip, 0, sizeof(h->ip));
		h->mss = largest;
		h->ip.version = 4;
		h->ip.ihl = 5;
		h->ip.tot_len = bpf_htons(ip + tcp + length);
		h->ip.frag_off = bpf_htons(0x4000);
		h->ip.ttl = 64;
		h->ip.protocol = IPPROTO_TCP;
		h->ip.saddr = p->ip4.daddr;
		h->ip.daddr = p->ip4.saddr;
		h->ip.check = ~folded(SUM(&h->ip, sizeof(h->ip)));
		head_of_tcp(&h->tcp, &p->s, &p->r, tcp / 4);
		sum += (__u64)h->ip.saddr + h->ip.daddr + SUM(&h->tcp, sizeof(h->tcp));
		sum += p->r.option ? SUM(&h->mss, sizeof(h->mss)) : 0;
		h->tcp.check = ~folded(sum);
	}
	head = ip + tcp;
	FRESH(head);
	if (!head || head > sizeof(p->out6) || turn_frame(ctx, &p->f, p->l2, ip + tcp + length) ||
	    bpf_xdp_store_bytes(ctx, p->f.l2, &p->out6, head))
		return XDP_DROP;
	if (length && text) {
		FRESH(length);
		if (!length || length > EDGED_ANSWER ||
		    bpf_xdp_store_bytes(ctx, p->f.l2 + ip + tcp, (void *)text->bytes, length))
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
