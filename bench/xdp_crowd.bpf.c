// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Subscribers for the benches of XDP, made by the kernel itself.
 *
 * generate: every run is a packet of somebody drawn at random, written over whatever the frame held, and, where wanted,
 *           handed to the program under test. For BPF_PROG_TEST_RUN, alone or as live frames.
 * surf:     the far end of a gateway's cable: makes of each answer the client's next packet and sends it back; whoever
 *           has finished is followed by somebody new. Nothing is remembered. Starts with the first SYNs put in.
 * sink:     drops everything.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ROOM 512
#define SYN 2
#define FIN 1
#define ACK 16

struct plan {
	__u32 kind;   /* the template that generate uses: 0 a SYN, 1 a request, 2 a datagram */
	__u32 first;  /* number of the first subscriber */
	__u32 mask;   /* count of subscribers less one; a power of two less one */
	__u32 call;   /* whether the program under test is asked */
	__u32 pass;   /* verdict where it is not */
	__u32 stop;   /* surf: nobody new begins */
	__u32 mix;    /* generate: of 2^32 packets so many are a flood's SYNs instead */
	__u32 flood_mask, flood_call, flood_pass; /* the same of those; from subscriber number 0 on. call 2: sink is asked */
	__u32 spread; /* a flood's SYNs go to addresses that differ in these bits */
	__u32 size[3];
	__u32 odd, space, base; /* bench/people.py */
	__u32 sum[3]; /* of the 16-bit words of each template's TCP segment and pseudo header, as far as they stay */
	__u32 claim[2]; /* what the program mixes into a cookie's ends for the sender of these frames, a word each */
	__u8 frame[3][ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct plan));
} plans SEC(".maps");

/* 0: whole redirects seen, 1: packets that were none of those expected */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u64));
} seen SEC(".maps");

/* 0: the program under test, 1: sink */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} tested SEC(".maps");

static __always_inline int resized(struct xdp_md *ctx, __u32 size)
{
	long now = (void *)(long)ctx->data_end - (void *)(long)ctx->data;

	return now == size ? 0 : bpf_xdp_adjust_tail(ctx, (int)(size - now));
}

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &what);

	if (n)
		(*n)++;
}

static __always_inline __u32 person(const struct plan *p, __u32 number)
{
	__u64 n = number;

	return (n * p->odd) % p->space + p->base;
}

static __always_inline __u16 header_sum(const struct iphdr *ip)
{
	const __u16 *w = (const void *)ip;
	__u32 sum = 0;

	_Pragma("unroll") for (int i = 0; i < 10; i++) sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The checksum of a TCP segment whose template has the sum `sum`. */
static __always_inline __u16 segment_sum(__u64 sum, const struct iphdr *ip, const struct tcphdr *tcp)
{
	sum += (__u64)ip->saddr + ip->daddr + tcp->source + tcp->seq + tcp->ack_seq;
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The frame becomes a packet of somebody new. */
static __always_inline int begin(struct xdp_md *ctx, struct plan *p, __u32 kind, __u32 first, __u32 mask)
{
	__u32 draw = bpf_get_prandom_u32(), size;
	void *data, *end;
	struct iphdr *ip;
	struct tcphdr *tcp;
	__s64 cookie;

	kind = kind > 2 ? 2 : kind;
	size = p->size[kind];
	asm volatile("" : "+r"(size));
	if (size < 60 || size > ROOM)
		return -1;
	if (resized(ctx, size))
		return -1;
	if (bpf_xdp_store_bytes(ctx, 0, p->frame[kind], size))
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + sizeof(struct ethhdr);
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end)
		return -1;
	ip->saddr = bpf_htonl(person(p, first + (draw & mask)));
	if (kind == 0 && p->spread)
		ip->daddr ^= bpf_htonl(bpf_get_prandom_u32() & p->spread);
	ip->check = 0;
	ip->check = header_sum(ip);
	tcp->source = bpf_htons(1024 | draw >> 16);
	if (kind == 2)
		return 0;
	tcp->seq = draw;
	if (kind == 1) {
		struct tcphdr hello = {.source = tcp->source, .dest = tcp->dest, .seq = bpf_htonl(bpf_ntohl(draw) - 1)};
		struct iphdr from = *ip;

		hello.doff = 5;
		hello.syn = 1;
		from.saddr ^= p->claim[0];
		from.daddr ^= p->claim[1];
		cookie = bpf_tcp_raw_gen_syncookie_ipv4(&from, &hello, sizeof(hello));
		tcp->ack_seq = bpf_htonl((__u32)cookie + 1);
	}
	tcp->check = segment_sum(p->sum[kind], ip, tcp);
	return 0;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 zero = 0, call;
	struct plan *p = bpf_map_lookup_elem(&plans, &zero);
	int flood;

	if (!p)
		return XDP_ABORTED;
	flood = p->mix && bpf_get_prandom_u32() < p->mix;
	if (flood ? begin(ctx, p, 0, 0, p->flood_mask) : begin(ctx, p, p->kind, p->first, p->mask))
		return XDP_ABORTED;
	call = flood ? p->flood_call : p->call;
	if (call == 1)
		bpf_tail_call(ctx, &tested, 0);
	else if (call)
		bpf_tail_call(ctx, &tested, 1);
	return flood ? p->flood_pass : p->pass;
}

static __always_inline void turn(struct ethhdr *eth, struct iphdr *ip, struct tcphdr *tcp)
{
	__u8 mac[6];
	__be32 address = ip->saddr;
	__be16 port = tcp->source;

	__builtin_memcpy(mac, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, mac, 6);
	ip->saddr = ip->daddr;
	ip->daddr = address;
	tcp->source = tcp->dest;
	tcp->dest = port;
}

SEC("xdp")
int surf(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, seq, ack, bytes, size, http = 0;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct plan *p = bpf_map_lookup_elem(&plans, &zero);
	__u8 flags;

	if (!p || (void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != 6)
		return XDP_DROP;
	flags = ((__u8 *)tcp)[13];
	seq = bpf_ntohl(tcp->ack_seq);
	bytes = bpf_ntohs(ip->tot_len) - sizeof(*ip) - tcp->doff * 4;
	ack = bpf_ntohl(tcp->seq) + bytes + !!(flags & (SYN | FIN));
	if (flags == (SYN | ACK)) {
		struct ethhdr e = *eth;
		struct iphdr i = *ip;
		struct tcphdr t = *tcp;

		size = p->size[1];
		asm volatile("" : "+r"(size));
		if (size < 60 || size > ROOM ||
		    resized(ctx, size) ||
		    bpf_xdp_store_bytes(ctx, 0, p->frame[1], size))
			return XDP_DROP;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		eth = data;
		ip = (void *)(eth + 1);
		tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > end)
			return XDP_DROP;
		ip->saddr = i.daddr;
		ip->check = 0;
		ip->check = header_sum(ip);
		tcp->source = t.dest;
		tcp->seq = bpf_htonl(seq);
		tcp->ack_seq = bpf_htonl(ack);
		tcp->check = segment_sum(p->sum[1], ip, tcp);
		return XDP_TX;
	}
	if (flags & FIN) {
		if (bpf_xdp_load_bytes(ctx, 54 + 9, &http, 3) || http != ('3' | '0' << 8 | '2' << 16)) {
			count(1);
			return XDP_DROP;
		}
		count(0);
		if (resized(ctx, 60))
			return XDP_DROP;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		eth = data;
		ip = (void *)(eth + 1);
		tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > end)
			return XDP_DROP;
		turn(eth, ip, tcp);
		ip->tot_len = bpf_htons(40);
		ip->check = 0;
		ip->check = header_sum(ip);
		tcp->doff = 5;
		((__u8 *)tcp)[13] = FIN | ACK;
		tcp->seq = bpf_htonl(seq);
		tcp->ack_seq = bpf_htonl(ack);
		return XDP_TX;
	}
	if (flags == ACK && !p->stop)
		return begin(ctx, p, 0, p->first, p->mask) ? XDP_DROP : XDP_TX;
	if (flags != ACK)
		count(1);
	return XDP_DROP;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
