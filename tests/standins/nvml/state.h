/* A stand-in for libnvidia-ml.so.1 that answers from a text file, the state.
 *
 * NVML_STANDIN names the state. It is looked at in every call and read anew when its time, size or
 * inode is another, so it can be replaced (by rename) under programs that read it.
 * NVML_STANDIN_CALLS may name a file in which calls are counted by function, over all processes: 256
 * slots of 64 bytes, a name of at most 55 bytes and a NUL, then the count as 8 bytes; it is mapped,
 * and so survives a SIGKILL.
 *
 * The state is lines `key = value`, `#` begins a comment line, `[device]` begins a device and `[mig]`
 * a slice of the device before it. The last of equal keys counts; `process` and `event` may come
 * many times. What has no line answers NOT_SUPPORTED, as real cards do. A value is
 *   a number                37, 0x1f, -3, 91.5
 *   a counter               START+RATE@SINCE: grows by RATE a second from the epoch second SINCE
 *   n/a                     2^64-1, "not available" of a process's memory
 *   the name of an error    NOT_SUPPORTED, NO_PERMISSION, GPU_IS_LOST, TIMEOUT, UNKNOWN, ...
 *   words                   a name, or several numbers with spaces between
 *
 * Above the first section: driver, cuda (12080 is 12.8), nvml, branch, init (an error's name),
 * generation (a number; another one is a driver that was reloaded: what was initialised before it
 * answers `stale`, UNKNOWN if not given, until it is shut down and initialised again).
 * Anywhere, for all devices or for one: `delay = MS`, `delay.FUNCTION = MS`, `hang = 1`,
 * `hang.FUNCTION = 1` (the call blocks until the state says otherwise), `error.FUNCTION = NAME`.
 * In a device: `lost = 1`; `live = 1`: samples of processes and of the ring are always new, else they
 * are as old as the state. Which keys a device has stands beside the functions that read them:
 * readings.c, links.c (PCIe, NVLink, fields), processes.c, events.c (with GPM).
 *
 * The devices are those of the first nvmlInit, in the order they had there: one that vanishes from
 * the state is lost, one that appears is seen after nvmlShutdown and nvmlInit. */
#ifndef STANDIN_STATE_H
#define STANDIN_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "abi.h"
#include "functions.h"

#ifndef DRIVER
#define DRIVER 580000 /* branch × 1000 + minor, as in functions.h */
#endif
#define API __attribute__((visibility("default")))

enum function {
#define NUMBER_OF(since, name) F_##name,
    FUNCTIONS(NUMBER_OF)
#undef NUMBER_OF
    FUNCTION_COUNT
};

struct entry { const char *key, *value; };

struct section {
    struct section *device;      /* of a slice: its parent; else NULL */
    const struct entry *entries; /* those of one section lie together */
    size_t count;
    unsigned slices;             /* so many sections after a device are its */
    unsigned order;              /* of a slice, among those of its device */
    bool scripted;               /* it has delay, hang or error lines: others need no search */
};

/* Counts the call, takes the lock, reads the state, waits where that is scripted, and finds what
 * the handle stands for (NULL: the call is about no device). Only after OK the lock is held, and
 * `leave` gives it back. */
Return enter(enum function f, struct handle *h, struct section **s);
Return leave(Return code);
/* The same for nvmlInit and others that need no initialised library. */
void enter_uninitialised(enum function f);
void wait_unlocked(unsigned ms);

struct section *top(void); /* what stands above the first section */
const char *text_of(const struct section *s, const char *key);
Return code_named(const char *name, Return otherwise);
/* What a value says, as each of C's kinds; the error it names, or NOT_SUPPORTED without a line. */
Return number(const struct section *s, const char *key, double *to);
Return u64_of(const struct section *s, const char *key, uint64_t *to);
Return unsigned_of(const struct section *s, const char *key, unsigned *to);
Return numbers(const struct section *s, const char *key, unsigned wanted, uint64_t *to);
Return parse_u64(const char *value, uint64_t *to);
bool flag(const struct section *s, const char *key);
Return copy(const struct section *s, const char *key, char *to, unsigned size);

Return handle_of(const struct section *s, struct handle **to);
struct section *section_of(struct handle *h);
struct section *by_key(const char *key, const char *value, bool slices);
bool mig_on(const struct section *s);
uint64_t now_us(void);
uint64_t state_us(void); /* when the state was written */
/* When samples of this device were taken. */
uint64_t sampled_us(const struct section *s);

#endif
