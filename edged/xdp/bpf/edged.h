/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The only contract between the XDP program and user space; edged/xdp/layout.py says the same in numpy, and a test lets
 * the compiler compare the two. Whatever changes here in size, place or meaning makes EDGED_LAYOUT one more: maps that
 * are pinned under another number are never looked at.
 *
 * Addresses and ports are in network order, everything else in the machine's. Padding is zero.
 */
#ifndef EDGED_H
#define EDGED_H

#include <linux/types.h>

#define EDGED_LAYOUT 3

/* Value of the map `live`: which of the two sets of maps is in use. The other set is filled, then this is written:
 * a packet meets the old set or the new one, never a mixture. Writing less than two sets' worth is not possible. */
#define EDGED_SLOTS 2
struct edged_live { /* read in one piece */
	__u32 slot;
	__u32 changes; /* one more after each change of anything here: what the program remembers is forgotten */
};

#define EDGED_LENGTHS 8	 /* IPv6 prefix lengths of subscribers */
#define EDGED_GARDENS 16 /* prefix lengths of the gardens, of each family */
#define EDGED_ANSWER 1024 /* bytes of the longest answer; what does not fit one segment of a client is not answered */
#define EDGED_MACS 4 /* of one interface */
#define EDGED_LINKS 4096 /* interfaces */
#define EDGED_FLOWS 262144 /* places for answered connections; a power of two */

/* Levels, as edged/domain/levels.py has them. */
enum edged_level {
	EDGED_OPEN = 0,
	EDGED_NOTICE = 1,
	EDGED_REDUCED = 2,
	EDGED_WALLED = 3,
	EDGED_BLOCKED = 4,
};

/* Key of restricted4: the four bytes of the address. */

/* Key of restricted6: a prefix, its host bits zero. All restricted prefixes must be in it, whatever their level: the
 * first length of settings.lengths6 whose prefix is found decides, as in the nft rules. */
struct edged_prefix {
	__u8 length; /* bits */
	__u8 pad[3];
	__u8 address[16];
};

/* Value of both. User space writes it whole and leaves tat, proven and heard zero; those three are the program's own. */
struct edged_entry {
	__u64 until;  /* end of the promise, CLOCK_MONOTONIC ns; 0: none */
	__u32 tat;    /* theoretical arrival time of the rate limit (GCRA) of SYNs and of what the rules refuse, rate.h */
	__u32 proven; /* the same of requests whose cookie proves that their sender heard the answer to its SYN */
	__u32 heard;  /* when it last began a connection here, CLOCK_MONOTONIC in units of 2^30 ns */
	__u8 level;   /* once every promise has ended */
	__u8 lift;    /* while the promise runs */
	__u8 pad[2];
};

/* Key of gardens: a network, host bits zero; value: in which gardens it is. What goes there is left to the nft rules,
 * which know protocols and ports. */
struct edged_network {
	__u8 family; /* 4 or 6 */
	__u8 length; /* bits */
	__u8 pad[2];
	__u8 address[16]; /* IPv4 in the first four */
};
#define EDGED_GARDEN_OPEN 1   /* `open`: for walled and blocked */
#define EDGED_GARDEN_WALLED 2 /* `garden`: for walled */

/* What the program answers; the place in settings.answers. */
enum edged_answer {
	EDGED_FOUND = 0,	 /* 302 with a body */
	EDGED_FOUND_NO_BODY = 1, /* 302 to HEAD */
	EDGED_BAD = 2,		 /* 400 to what is no HTTP */
	EDGED_SHORT = 3,	 /* 302 in as few bytes as can be, where a frame has no room to grow */
	EDGED_ANSWERS = 4,
};

struct edged_text {
	__u32 length; /* bytes */
	__u32 sum;    /* of its 16-bit words as the machine reads them, an odd byte filled up with zero; not folded */
	__u8 bytes[EDGED_ANSWER];
};

/* A prefix length, and the bits it keeps; of an IPv4 address in the first word. */
struct edged_mask {
	__u32 length;
	__be32 bits[4];
};

/* Value of settings, one for each slot. */
struct edged_settings {
	__u32 layout; /* EDGED_LAYOUT */
	__u32 flags;  /* EDGED_DROP_BLOCKED, EDGED_NARROW */
	__u64 seed;   /* random; the same for as long as the maps live */
	__u64 cost;   /* ns that one SYN, one answer, or one packet refused by the rules, costs an address */
	__u64 burst;  /* ns that an address may be ahead; beyond it is dropped. Half of it for what is not HTTP */
	__u16 port;   /* of HTTP */
	__u8 n_lengths6;
	__u8 n_gardens4;
	__u8 n_gardens6;
	__u8 pad[3];
	struct edged_mask lengths6[EDGED_LENGTHS]; /* in the order of the rules */
	struct edged_mask gardens4[EDGED_GARDENS];
	struct edged_mask gardens6[EDGED_GARDENS];
	struct edged_text answers[EDGED_ANSWERS];
};
#define EDGED_DROP_BLOCKED 1 /* what a blocked subscriber sends beyond the rate is dropped before the stack */
#define EDGED_NARROW 2 /* some prefix in lengths6 is longer than 64 */

/* Value of links, by interface index: which frames that arrive there come from subscribers. No entry: none. */
struct edged_link {
	__u32 flags;	   /* EDGED_LINK_* */
	__u32 pad;
	__u8 macs[EDGED_MACS][8]; /* six bytes and zeros: what is for another is not answered. Zero: none */
	__u64 vlans[64]; /* a bit for each outer VLAN id whose frames do */
};
#define EDGED_LINK_PLAIN 1	 /* IP straight in Ethernet */
#define EDGED_LINK_VLAN 2	 /* behind one tag, 802.1Q or 802.1ad */
#define EDGED_LINK_QINQ 4	 /* behind two */
#define EDGED_LINK_PPPOE 8	 /* in a PPPoE session straight in Ethernet */
#define EDGED_LINK_PPPOE_VLAN 16 /* in a PPPoE session behind one tag */
#define EDGED_LINK_PPPOE_QINQ 32 /* behind two */

/* Counters (per CPU), by what became of a packet. Packets that are not HTTP's pass uncounted. */
enum edged_action {
	EDGED_PASS_OPEN,     /* passed: to the HTTP port, source not restricted, or a level that is not ours */
	EDGED_PASS_GARDEN,   /* passed: to a garden */
	EDGED_PASS_LOCAL,    /* passed: to the gateway itself, multicast, or nowhere the gateway knows */
	EDGED_PASS_SOCKET,   /* passed: a connection that a socket holds, or nobody; RST */
	EDGED_PASS_ODD,	     /* passed: could not be understood or answered here */
	EDGED_SYN_ACK,	     /* answered: SYN */
	EDGED_REDIRECT,	     /* answered: a whole GET or HEAD */
	EDGED_REDIRECT_EARLY,/* answered: the beginning of another request */
	EDGED_REFUSED,	     /* answered: no HTTP */
	EDGED_REPEAT,	     /* answered again: more of a client that has not seen the answer */
	EDGED_ACK,	     /* answered: FIN, or what came after the answer */
	EDGED_DROP_ACK,	     /* dropped: acknowledgements that need no answer */
	EDGED_DROP_EARLY,    /* dropped: overtook its request, or no window for the answer; the client sends it again */
	EDGED_DROP_RATE,     /* dropped: too many connections of one address */
	EDGED_DROP_BLOCKED_RATE, /* dropped: too many packets of one blocked address (EDGED_DROP_BLOCKED) */
	EDGED_ACTIONS,
};

#endif
