/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The four packets that are sent. The frame that came becomes the answer: same tags, same session, ends exchanged. */
#ifndef EDGED_ANSWER_H
#define EDGED_ANSWER_H

#include "maps.h"

#define SMALLEST 60 /* bytes of an Ethernet frame without its checksum */
#define HEAD_STEP 128 /* bytes that fit in front of any frame, beside what the kernel puts there itself */
#define MSS4 1460
#define MSS6 1440
#define PPPOE_BYTES 8
#define WINDOW 65535

#define TEXT4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

struct mss {
	__u8 kind;
	__u8 size;
	__be16 value;
};

/* IP, TCP and the one option in one piece: written into the packet at once. */
struct head4 {
	struct iphdr ip;
	struct tcphdr tcp;
	struct mss mss;
};

struct head6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
	struct mss mss;
};

static __always_inline __u32 longest(const struct edged_settings *s)
{
	return s->answers[EDGED_FOUND].length;
}

union bytes8 {
	__u8 c[8];
	__u32 word;
};

/* Whether the first bytes may begin an HTTP request: a token, or empty lines. The preface of HTTP/2 may not. */
static __always_inline int begins_request(const union bytes8 *first, __u32 size)
{
	/* RFC 9110's token characters as bits */
	const __u64 low = 0x03ff6cfa00000000ULL, high = 0x57ffffffc7fffffeULL;
	int ended = first->c[0] == '\r' || first->c[0] == '\n', good = 1;

	if (first->word == TEXT4('P', 'R', 'I', ' ') || first->c[0] == ' ')
		return 0;
	_Pragma("unroll") for (int i = 0; i < 8; i++) {
		__u8 c = first->c[i];

		ended |= i >= size || c == ' ';
		good &= ended || (c < 128 && (c < 64 ? low >> c : high >> (c & 63)) & 1);
	}
	return good;
}

/* Give the frame `bytes`, or its smallest size. Its contents are written anew, so it may grow at either end: some
 * drivers have no room at the tail, none much at the head. */
static __always_inline int resized(struct xdp_md *ctx, __u32 bytes)
{
	int more = (int)(bytes < SMALLEST ? SMALLEST : bytes) - (int)(ctx->data_end - ctx->data);

	if (!more || !bpf_xdp_adjust_tail(ctx, more))
		return 0;
	if (more <= 0)
		return -1;
	if (more <= HEAD_STEP)
		return bpf_xdp_adjust_head(ctx, -more);
	if (bpf_xdp_adjust_head(ctx, -HEAD_STEP))
		return -1;
	if (!bpf_xdp_adjust_tail(ctx, more - HEAD_STEP) || !bpf_xdp_adjust_head(ctx, HEAD_STEP - more))
		return 0;
	bpf_xdp_adjust_head(ctx, HEAD_STEP); /* as it was: it will pass */
	return -1;
}

/* Everything before IP, on its way back. `packet`: bytes of the IP packet inside. */
static __always_inline int turn_frame(struct xdp_md *ctx, const struct frame *f, const __u8 l2[32], __u32 packet)
{
	__u8 back[32];
	__u32 size = f->l2;

	__builtin_memcpy(back, l2, 32);
	__builtin_memcpy(back, l2 + 6, 6);
	__builtin_memcpy(back + 6, l2, 6);
	FRESH(size);
	if (size < sizeof(struct ethhdr) || size > L2_ROOM)
		return -1;
	if (bpf_xdp_store_bytes(ctx, 0, back, size))
		return -1;
	if (f->pppoe) {
		__be16 length = bpf_htons(packet + 2); /* with the protocol number */

		return bpf_xdp_store_bytes(ctx, size - 4, &length, sizeof(length));
	}
	return 0;
}

static __always_inline int keep_frame(struct xdp_md *ctx, const struct frame *f, __u8 l2[32])
{
	__u32 size = f->l2;

	FRESH(size);
	if (size < sizeof(struct ethhdr) || size > L2_ROOM)
		return -1;
	return bpf_xdp_load_bytes(ctx, 0, l2, size);
}

static __always_inline void head_of_tcp(struct tcphdr *t, const struct segment *s, __u32 seq, __u32 ack, __u8 flags,
					__u32 words)
{
	t->source = s->dport;
	t->dest = s->sport;
	t->seq = bpf_htonl(seq);
	t->ack_seq = bpf_htonl(ack);
	((__u8 *)t)[12] = words << 4;
	((__u8 *)t)[13] = flags;
	t->window = bpf_htons(WINDOW);
	t->check = 0;
	t->urg_ptr = 0;
}

/* Send a segment. `text` may be 0; `option` asks for the MSS option. Passes when the frame cannot be made fit, which is
 * found out before anything of it is changed. */
static __always_inline int sent(struct xdp_md *ctx, const struct frame *f, const struct segment *s,
				const struct iphdr *ip4, const struct ipv6hdr *ip6, __u32 seq, __u32 ack, __u8 flags,
				int option, const struct edged_text *text)
{
	__u32 tcp = sizeof(struct tcphdr) + (option ? sizeof(struct mss) : 0);
	__u32 length = text ? text->length : 0;
	__u32 mss = (s->family == 4 ? MSS4 : MSS6) - (f->pppoe ? PPPOE_BYTES : 0);
	struct mss largest = {.kind = 2, .size = 4, .value = bpf_htons(mss)};
	__u64 sum = bpf_htons(IPPROTO_TCP) + (text ? (__u64)text->sum : 0);
	__u32 ip = s->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u8 l2[32] = {};

	if (length > EDGED_ANSWER || keep_frame(ctx, f, l2))
		return XDP_PASS;
	if (resized(ctx, f->l2 + ip + tcp + length))
		return XDP_PASS;
	sum += bpf_htons(tcp + length);
	if (s->family == 4) {
		struct head4 h = {.mss = largest};

		h.ip.version = 4;
		h.ip.ihl = 5;
		h.ip.tot_len = bpf_htons(ip + tcp + length);
		h.ip.frag_off = bpf_htons(0x4000);
		h.ip.ttl = 64;
		h.ip.protocol = IPPROTO_TCP;
		h.ip.saddr = ip4->daddr;
		h.ip.daddr = ip4->saddr;
		h.ip.check = ~folded(SUM(&h.ip, sizeof(h.ip)));
		head_of_tcp(&h.tcp, s, seq, ack, flags, tcp / 4);
		sum += (__u64)h.ip.saddr + h.ip.daddr + SUM(&h.tcp, sizeof(h.tcp));
		sum += option ? SUM(&h.mss, sizeof(h.mss)) : 0;
		h.tcp.check = ~folded(sum);
		if (turn_frame(ctx, f, l2, ip + tcp + length) ||
		    bpf_xdp_store_bytes(ctx, f->l2, &h, option ? sizeof(h) : sizeof(h) - sizeof(h.mss)))
			return XDP_DROP;
	} else {
		struct head6 h = {.mss = largest};

		h.ip.version = 6;
		h.ip.payload_len = bpf_htons(tcp + length);
		h.ip.nexthdr = IPPROTO_TCP;
		h.ip.hop_limit = 64;
		h.ip.saddr = ip6->daddr;
		h.ip.daddr = ip6->saddr;
		head_of_tcp(&h.tcp, s, seq, ack, flags, tcp / 4);
		sum += SUM(&h.ip.saddr, 32) + SUM(&h.tcp, sizeof(h.tcp));
		sum += option ? SUM(&h.mss, sizeof(h.mss)) : 0;
		h.tcp.check = ~folded(sum);
		if (turn_frame(ctx, f, l2, ip + tcp + length) ||
		    bpf_xdp_store_bytes(ctx, f->l2, &h, option ? sizeof(h) : sizeof(h) - sizeof(h.mss)))
			return XDP_DROP;
	}
	if (length && text) {
		FRESH(length);
		if (!length || length > EDGED_ANSWER || bpf_xdp_store_bytes(ctx, f->l2 + ip + tcp, (void *)text->bytes, length))
			return XDP_DROP;
	}
	return XDP_TX;
}

static __always_inline int send_syn_ack(struct xdp_md *ctx, const struct frame *f, const struct segment *s,
					const struct iphdr *ip4, const struct ipv6hdr *ip6, __u32 cookie)
{
	int fate = sent(ctx, f, s, ip4, ip6, cookie, s->seq + 1, TCP_SYN | TCP_ACK, 1, 0);

	return counted(fate == XDP_TX ? EDGED_SYN_ACK : EDGED_PASS_ODD, fate);
}

/* The whole answer and our FIN in one segment; it acknowledges what came, and a FIN that came with it. */
static __always_inline int send_text(struct xdp_md *ctx, const struct frame *f, const struct segment *s,
				     const struct iphdr *ip4, const struct ipv6hdr *ip6, const struct edged_text *text)
{
	__u32 ack = s->seq + s->data + (s->flags & TCP_FIN ? 1 : 0);

	return sent(ctx, f, s, ip4, ip6, s->ack, ack, TCP_ACK | TCP_PSH | TCP_FIN, 0, text);
}

static __always_inline int send_ack(struct xdp_md *ctx, const struct frame *f, const struct segment *s,
				    const struct iphdr *ip4, const struct ipv6hdr *ip6, __u8 more)
{
	__u32 ack = s->seq + s->data + (s->flags & TCP_FIN ? 1 : 0);
	int fate = sent(ctx, f, s, ip4, ip6, s->ack, ack, TCP_ACK | more, 0, 0);

	return counted(fate == XDP_TX ? EDGED_ACK : EDGED_PASS_ODD, fate);
}

#endif
