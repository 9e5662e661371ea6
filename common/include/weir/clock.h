/* Time. Wall clock in messages and logs, monotonic clock for waits. */
#ifndef WEIR_CLOCK_H
#define WEIR_CLOCK_H

#include <stdint.h>

int64_t weir_wall_ms(void); /* since the epoch */
int64_t weir_mono_ms(void);
int64_t weir_mono_ns(void);
enum { WEIR_ISO_SIZE = 25 }; /* "2026-11-25T10:00:00.000Z" and NUL */
void weir_iso_time(int64_t wall_ms, char out[WEIR_ISO_SIZE]);
uint64_t weir_random(void); /* not for secrets: jitter, span ids. Any thread. */

#endif
