/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is known of a frame once it is understood, and the understanding: Ethernet, up to two tags, PPPoE, IPv4 or IPv6
 * without options or extension headers, TCP. Whatever is anything else is not understood, and passes. */
#ifndef EDGED_FRAME_H
#define EDGED_FRAME_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "edged.h"

#define L2_ROOM 30 /* Ethernet, two tags, PPPoE */

struct tag {
	__be16 tci;
	__be16 proto;
};

struct pppoe {
	__u8 version_type;
	__u8 code;
	__be16 session;
	__be16 length;
	__be16 proto;
} __attribute__((packed));

#define PPPOE_VERSION_TYPE 0x11
#define PPP_IPV4 0x0021
#define PPP_IPV6 0x0057

struct frame {
	__u32 l2;     /* bytes before the IP header */
	__u32 kind;   /* one of EDGED_LINK_* */
	__u32 pppoe;  /* whether it is one of the PPPoE ones */
	__u16 vlan;   /* outer id */
	__u16 ether;  /* of what is inside: ETH_P_IP or ETH_P_IPV6 */
};

/* A function that the verifier looks at once, instead of once for each way that leads there: a start of the daemon waits
 * for it. Its arguments may be anything, for all that it knows. */
#define SEPARATE __attribute__((noinline))

/* Keep the compiler from proving what the verifier then has to see in one register. */
#define FRESH(number) asm volatile("" : "+r"(number))

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

struct mss {
	__u8 kind;
	__u8 size;
	__be16 value;
};

struct segment {
	__u8 family;  /* 4 or 6 */
	__u8 flags;   /* the low six bits of TCP's */
	__u32 header; /* bytes of the TCP header */
	__u32 at;     /* where the data begins in the frame */
	__u32 data;   /* bytes of data */
	__u32 seq;
	__u32 ack;
	__u16 window;
	__be16 sport;
	__be16 dport;
	struct mss told; /* the first option, if there is one */
};

/* IP, TCP and the one option, as an answer has them. */
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

/* What a segment of ours says. */
struct reply {
	__u32 seq;
	__u32 ack;
	__u32 flags;
	__u32 option; /* whether with the MSS option */
	__u32 action; /* how an answer to a request counts */
};

#define PIECE 32

/* Keyed hashes of who sent a packet, and of that and where it goes; see flood.h. `way` 0: nothing is to be remembered. */
struct trail {
	__u64 sender;
	__u64 way;
	__u32 place;
};

union piece {
	__u8 c[PIECE];
	__u32 word[PIECE / 4];
};

/* All that is known of a packet, and what is answered. */
struct packet {
	__u64 now; /* CLOCK_MONOTONIC ns at the last tick: some milliseconds old, as the sets' timeouts are, and cheaper */
	__u64 sender; /* a keyed hash of the hardware address that it came from, and the VLAN */
	struct frame f;
	struct segment s;
	struct trail trail; /* of a SYN, and of what is not HTTP */
	struct reply r;
	__u8 l2[32];  /* what was before IP */
	__u8 tcp[64]; /* a header that came, with its options */
	union piece piece; /* of a request */
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	};
};

static __always_inline int is_tag(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

static __always_inline int is_zero(const __u8 *mac)
{
	return !(*(const __u32 *)mac | *(const __u16 *)(mac + 4));
}

/* What is in the frame. 0: IP; else not for us. */
static __always_inline int read_frame(void *data, void *end, struct frame *f)
{
	struct ethhdr *eth = data;
	struct pppoe *session;
	struct tag *tag;
	__be16 proto;

	if ((void *)(eth + 1) > end || eth->h_dest[0] & 1) /* a group's: nobody's to answer */
		return -1;
	if (eth->h_source[0] & 1 || is_zero(eth->h_source)) /* an answer goes there: to one station, or nowhere */
		return -1;
	proto = eth->h_proto;
	f->l2 = sizeof(*eth);
	f->kind = EDGED_LINK_PLAIN;
	f->vlan = 0;
	f->pppoe = 0;
	if (is_tag(proto)) {
		tag = data + sizeof(*eth);
		if ((void *)(tag + 1) > end)
			return -1;
		f->vlan = bpf_ntohs(tag->tci) & 0xfff;
		proto = tag->proto;
		f->l2 = sizeof(*eth) + sizeof(*tag);
		f->kind = EDGED_LINK_VLAN;
		if (is_tag(proto)) {
			tag++;
			if ((void *)(tag + 1) > end)
				return -1;
			proto = tag->proto;
			f->l2 = sizeof(*eth) + 2 * sizeof(*tag);
			f->kind = EDGED_LINK_QINQ;
		}
	}
	if (proto == bpf_htons(ETH_P_PPP_SES)) {
		session = data + f->l2;
		if ((void *)(session + 1) > end || session->version_type != PPPOE_VERSION_TYPE || session->code)
			return -1;
		if (session->proto == bpf_htons(PPP_IPV4))
			proto = bpf_htons(ETH_P_IP);
		else if (session->proto == bpf_htons(PPP_IPV6))
			proto = bpf_htons(ETH_P_IPV6);
		else
			return -1;
		f->l2 += sizeof(*session);
		f->kind *= EDGED_LINK_PPPOE;
		f->pppoe = 1;
	}
	f->ether = bpf_ntohs(proto);
	return proto == bpf_htons(ETH_P_IP) || proto == bpf_htons(ETH_P_IPV6) ? 0 : -1;
}

static __always_inline __u32 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Sum of the 32-bit words of something on the stack or in the packet whose size the compiler knows. */
#define SUM(start, bytes)                                                                                              \
	({                                                                                                             \
		const __u32 *_word = (const void *)(start);                                                            \
		__u64 _sum = 0;                                                                                        \
		_Pragma("unroll") for (int _i = 0; _i < (int)(bytes) / 4; _i++) _sum += _word[_i];                      \
		_sum;                                                                                                  \
	})

static __always_inline int is_simple4(const struct iphdr *ip)
{
	return ip->version == 4 && ip->ihl == 5 && !(ip->frag_off & bpf_htons(0x3fff));
}

static __always_inline int is_plain4(const struct iphdr *ip)
{
	/* a wrong header checksum is not for us to answer: the stack drops it */
	return is_simple4(ip) && folded(SUM(ip, sizeof(*ip))) == 0xffff;
}

/* The flags, where the two bytes of the destination port say so; else -1. The rest of the header is not looked at. */
static __always_inline int flags_to(void *data, void *end, __u32 at, __be16 port)
{
	struct tcphdr *tcp = data + at;

	return (void *)(tcp + 1) <= end && tcp->dest == port ? ((__u8 *)tcp)[13] & 0x3f : -1;
}

static __always_inline int is_syn(int flags)
{
	return (flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* The TCP segment behind an IP header of known place and length. 0, or -1 when it cannot be. */
static __always_inline int read_segment(void *data, void *end, __u32 at, __u32 bytes, struct segment *s)
{
	struct tcphdr *tcp = data + at;

	if ((void *)(tcp + 1) > end)
		return -1;
	s->header = tcp->doff * 4;
	if (s->header < sizeof(*tcp) || bytes < s->header || data + at + bytes > end)
		return -1;
	s->flags = ((__u8 *)tcp)[13] & 0x3f;
	s->at = at + s->header;
	s->data = bytes - s->header;
	s->seq = bpf_ntohl(tcp->seq);
	s->ack = bpf_ntohl(tcp->ack_seq);
	s->window = bpf_ntohs(tcp->window);
	s->sport = tcp->source;
	s->dport = tcp->dest;
	s->told = (struct mss){};
	if (s->header >= sizeof(*tcp) + sizeof(s->told) && (void *)(tcp + 1) + sizeof(s->told) <= end)
		s->told = *(struct mss *)(tcp + 1);
	return 0;
}

#endif
