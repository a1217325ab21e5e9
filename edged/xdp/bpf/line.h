/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the first bytes of a connection deserve: edged/portal/head.py's judge, but without waiting. What is no request line
 * of HTTP/1 and cannot become one gets 400, everything else 302, whole or not. */
#ifndef EDGED_LINE_H
#define EDGED_LINE_H

#include "maps.h"

#define TEXT4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define METHOD_BYTES 32	 /* of the longest method */
#define LINE_PIECES 256	 /* what is longer is not looked at to its end: it may yet become a request */
#define VERSION_BYTES 10 /* HTTP/1.1 and the line's end */

/* Where in its line a byte stands. The numbers are places in a row below: the next state, six bits for each state. */
enum where {
	EMPTY = 0,   /* empty lines before a request are skipped (RFC 9112, 2.2) */
	RETURN = 6,  /* a carriage return among those */
	METHOD = 12,
	SPACE = 18,  /* the one behind the method */
	TARGET = 24,
	VERSION = 30, /* behind the second space; the rest is compared as it is */
	NOISE = 36,
};

#define ROW(empty, cr, method, space, target)                                                                          \
	((__u64)(empty) << EMPTY | (__u64)(cr) << RETURN | (__u64)(method) << METHOD | (__u64)(space) << SPACE |       \
	 (__u64)(target) << TARGET | (__u64)VERSION << VERSION | (__u64)NOISE << NOISE)

#define SOLID ROW(METHOD, NOISE, METHOD, TARGET, TARGET) /* RFC 9110's token characters */
#define SEEN ROW(NOISE, NOISE, NOISE, TARGET, TARGET)	 /* others of a target */
#define WRONG ROW(NOISE, NOISE, NOISE, NOISE, NOISE)

/* The row of each byte: with a branch for each kind of byte the verifier has more than twice the work. */
static const __u64 rows[256] = {
	[0 ... 9] = WRONG,
	['\n'] = ROW(EMPTY, EMPTY, NOISE, NOISE, NOISE),
	[11 ... 12] = WRONG,
	['\r'] = ROW(RETURN, NOISE, NOISE, NOISE, NOISE),
	[14 ... 31] = WRONG,
	[' '] = ROW(NOISE, NOISE, SPACE, NOISE, VERSION),
	['!'] = SOLID,
	['"'] = SEEN,
	['#' ... '\''] = SOLID,
	['(' ... ')'] = SEEN,
	['*' ... '+'] = SOLID,
	[','] = SEEN,
	['-' ... '.'] = SOLID,
	['/'] = SEEN,
	['0' ... '9'] = SOLID,
	[':' ... '@'] = SEEN,
	['A' ... 'Z'] = SOLID,
	['[' ... ']'] = SEEN,
	['^' ... 'z'] = SOLID,
	['{'] = SEEN,
	['|'] = SOLID,
	['}'] = SEEN,
	['~'] = SOLID,
	[127] = WRONG,
	[128 ... 255] = SEEN,
};

struct walk {
	struct xdp_md *ctx;
	struct packet *p;
	__u32 done;   /* bytes before the second space, or so far */
	__u32 where;
	__u32 empty;  /* bytes of empty lines */
	__u32 method; /* bytes */
};

static long step(__u32 number, struct walk *w)
{
	struct packet *p = w->p;
	__u32 size = p->s.data - w->done, where = w->where, empty = 0, method = 0;
	int k;

	(void)number;
	if (p->s.data <= w->done)
		return 1;
	if (size > PIECE)
		size = PIECE;
	FRESH(size);
	if (!size || size > PIECE || bpf_xdp_load_bytes(w->ctx, p->s.at + w->done, &p->piece, size)) {
		w->where = NOISE;
		return 1;
	}
	for (k = 0; k < PIECE; k++) {
		if (k >= size)
			break;
		where = rows[p->piece.c[k]] >> (where & 63) & 63;
		if (where >= VERSION)
			break;
		empty += where <= RETURN;
		method += where == METHOD;
	}
	w->done += k;
	w->where = where;
	w->empty += empty;
	w->method += method;
	return where >= VERSION;
}

/* What stands behind the second space, as far as it came: -1 no version of HTTP/1, 1 it and the line's end, 0 less. */
static __always_inline int version(struct xdp_md *ctx, struct packet *p, __u32 from)
{
	const char wanted[7] = {'H', 'T', 'T', 'P', '/', '1', '.'};
	__u32 size = p->s.data - from;
	const __u8 *c = p->piece.c;

	if (p->s.data <= from)
		return 0;
	if (size > VERSION_BYTES)
		size = VERSION_BYTES;
	FRESH(size);
	if (!size || size > VERSION_BYTES || bpf_xdp_load_bytes(ctx, p->s.at + from, &p->piece, size))
		return -1;
	_Pragma("unroll") for (int i = 0; i < 7; i++)
		if (i < size && c[i] != wanted[i])
			return -1;
	if (size > 7 && (c[7] < '0' || c[7] > '9'))
		return -1;
	if (size < 9)
		return 0;
	if (c[8] == '\n')
		return 1;
	if (c[8] != '\r')
		return -1;
	if (size < 10)
		return 0;
	return c[9] == '\n' ? 1 : -1;
}

/* The answer to the first data of a connection; how it counts goes to p->r.action. EDGED_ANSWERS: none. */
SEPARATE int judged(struct xdp_md *ctx, struct packet *p)
{
	struct walk w = {.ctx = ctx, .p = p};
	__u32 last = 0;
	int whole = 0, head, get;

	if (!p)
		return EDGED_ANSWERS;
	p->r.action = EDGED_REFUSED;
	bpf_loop(LINE_PIECES, step, &w, 0);
	if (w.where == VERSION)
		whole = version(ctx, p, w.done + 1);
	if (w.where == NOISE || w.method > METHOD_BYTES || whole < 0)
		return EDGED_BAD;
	p->r.action = EDGED_REDIRECT_EARLY;
	if (p->s.data < w.empty + 5)
		return EDGED_FOUND;
	if (bpf_xdp_load_bytes(ctx, p->s.at + w.empty, &p->piece, 5) ||
	    bpf_xdp_load_bytes(ctx, p->s.at + p->s.data - sizeof(last), &last, sizeof(last)))
		return EDGED_ANSWERS;
	get = p->piece.word[0] == TEXT4('G', 'E', 'T', ' ');
	head = p->piece.word[0] == TEXT4('H', 'E', 'A', 'D') && p->piece.c[4] == ' ';
	if (whole && (get || head) && last == TEXT4('\r', '\n', '\r', '\n'))
		p->r.action = EDGED_REDIRECT;
	return head ? EDGED_FOUND_NO_BODY : EDGED_FOUND;
}

#endif
