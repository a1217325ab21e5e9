/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How fast an address may go on (GCRA): one number says until when its rate is used up, in units of 2^16 ns of
 * CLOCK_MONOTONIC. It wraps every 78 hours; whoever seems further ahead than anybody can be was last here long ago.
 */
#ifndef EDGED_RATE_H
#define EDGED_RATE_H

#include "maps.h"

#define UNIT_BITS 16
#define ASTRAY (1000000000 >> UNIT_BITS) /* a second: so far may processors disagree */

static __always_inline __u32 ahead(__u32 tat, const struct edged_settings *s, __u64 now)
{
	__u32 found = tat - (__u32)(now >> UNIT_BITS);

	return !tat || found > ((s->burst + s->cost) >> UNIT_BITS) + ASTRAY ? 0 : found;
}

static __always_inline int beyond(__u32 tat, const struct edged_settings *s, __u64 burst, __u64 now)
{
	return ahead(tat, s, now) > burst >> UNIT_BITS;
}

/* When one that is beyond it may go on, ns. */
static __always_inline __u64 allowed_at(__u32 tat, __u64 burst, __u64 now)
{
	__u64 units = now >> UNIT_BITS;

	return (units + (__u32)(tat - (__u32)units) - (burst >> UNIT_BITS)) << UNIT_BITS;
}

/* Whether an address may have one packet more, up to `burst` ns ahead; lost updates between processors let a few more
 * through. */
static __always_inline int within_rate(__u32 *tat, const struct edged_settings *s, __u64 burst, __u64 now)
{
	__u32 found = ahead(*tat, s, now);

	if (found > burst >> UNIT_BITS)
		return 0;
	*tat = (__u32)(now >> UNIT_BITS) + found + (s->cost >> UNIT_BITS);
	return 1;
}

#endif
