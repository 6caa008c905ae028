/* Who is on a device, and how much each has used of it; the ring of samples.
 *
 *   process = pid=N type=C|G|C+G|M memory=BYTES|n/a [protected=BYTES] [gi=N ci=N]
 *             [sm=% mem=% enc=% dec=% jpg=% ofa=%] [at=MICROSECONDS]
 *   processes = ERROR        the lists of this device are refused
 *   processes.used = ERROR   the samples of processes are refused
 *   samples.TYPE = % % ...   newest last, a sixth of a second apart; TYPE as nvmlSamplingType_t
 *
 * A process with sm, mem, enc or dec has a sample; it was taken when `at` says, else when the state
 * was written (`live`: now). A slice's processes are its own, and in its device's list too. */
#include "state.h"

#include <stdlib.h>
#include <string.h>

/* nvmlDeviceGetRunningProcessDetailList counts them so */
enum kind { COMPUTE, GRAPHICS, MPS };

/* The first drivers of 535 wrote the wide record from _v3 already, which no header said. */
enum { WIDE = DRIVER >= 535000 && DRIVER < 535104 };

struct walk { const struct section *s, *last; size_t entry; };

/* The next `process` line of a device with its slices, or of a slice. */
static const char *next(struct walk *w, const struct section **whose) {
    for (; w->s <= w->last; w->s++, w->entry = 0)
        while (w->entry < w->s->count) {
            const struct entry *entry = &w->s->entries[w->entry++];
            *whose = w->s;
            if (strcmp(entry->key, "process") == 0) return entry->value;
        }
    return NULL;
}
static struct walk walk_of(const struct section *s) {
    return (struct walk){s, s + (s->device || !mig_on(s) ? 0 : s->slices), 0};
}

/* The value of a word KEY=VALUE of a line; NULL without one. */
static const char *word(const char *line, const char *key) {
    size_t size = strlen(key);
    for (; line; line = strchr(line, ' ') ? strchr(line, ' ') + 1 : NULL)
        if (strncmp(line, key, size) == 0 && line[size] == '=') return line + size + 1;
    return NULL;
}
static bool word_u64(const char *line, const char *key, uint64_t *to) {
    const char *value = word(line, key);
    if (value == NULL) return false;
    if (strncmp(value, "n/a", 3) == 0) *to = NOT_AVAILABLE;
    else *to = strtoull(value, NULL, 10);
    return true;
}
static unsigned word_unsigned(const char *line, const char *key, unsigned otherwise) {
    uint64_t value = otherwise;
    word_u64(line, key, &value);
    return (unsigned)value;
}

static bool is(const char *line, enum kind kind) {
    const char *type = word(line, "type");
    size_t size = type ? strcspn(type, " ") : 0;
    return size ? memchr(type, "CGM"[kind], size) != NULL : kind == COMPUTE;
}

static struct process_detail detail(const char *line, const struct section *whose) {
    unsigned gi = NONE, ci = NONE;
    struct process_detail p = {.pid = word_unsigned(line, "pid", 0), .memory = NOT_AVAILABLE};
    if (whose->device) {
        unsigned_of(whose, "gi", &gi);
        unsigned_of(whose, "ci", &ci);
    }
    p.gi = word_unsigned(line, "gi", gi);
    p.ci = word_unsigned(line, "ci", ci);
    word_u64(line, "memory", &p.memory);
    if (!word_u64(line, "protected", &p.protected)) p.protected = 0;
    return p;
}

/* Writes one record of a size, which is what the versions differ in. */
static void put(void *array, unsigned place, size_t size, struct process_detail p) {
    struct process_v1 first = {p.pid, p.memory};
    struct process second = {p.pid, p.memory, p.gi, p.ci};
    const void *from = size == sizeof first ? (void *)&first : size == sizeof second ? (void *)&second : &p;
    memcpy((char *)array + place * size, from, size);
}

static Return list(struct section *s, enum kind kind, unsigned *count, void *array, size_t size) {
    struct walk w = walk_of(s);
    const struct section *whose;
    const char *line, *refused = text_of(s, "processes");
    unsigned room = *count, found = 0;
    if (refused) return code_named(refused, UNKNOWN);
    while ((line = next(&w, &whose))) {
        if (!is(line, kind)) continue;
        if (array && found < room) put(array, found, size, detail(line, whose));
        found++;
    }
    *count = found;
    return found > (array ? room : 0) ? INSUFFICIENT_SIZE : OK;
}

static Return running(enum function f, struct handle *h, enum kind kind, unsigned *count, void *array,
                      size_t size) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    return leave(count ? list(s, kind, count, array, size) : INVALID_ARGUMENT);
}

#define RUNNING(name, kind, size)                                              \
    API Return name(struct handle *h, unsigned *count, void *array) {          \
        return running(F_##name, h, kind, count, array, size);                 \
    }
#define RECORD_V3 (WIDE ? sizeof(struct process_detail) : sizeof(struct process))
RUNNING(nvmlDeviceGetComputeRunningProcesses, COMPUTE, sizeof(struct process_v1))
RUNNING(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE, sizeof(struct process))
RUNNING(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE, RECORD_V3)
RUNNING(nvmlDeviceGetGraphicsRunningProcesses, GRAPHICS, sizeof(struct process_v1))
RUNNING(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS, sizeof(struct process))
RUNNING(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS, RECORD_V3)
RUNNING(nvmlDeviceGetMPSComputeRunningProcesses, MPS, sizeof(struct process_v1))
RUNNING(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS, sizeof(struct process))
RUNNING(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS, RECORD_V3)

API Return nvmlDeviceGetRunningProcessDetailList(struct handle *h, struct process_list *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetRunningProcessDetailList, h, &s);
    if (code != OK) return code;
    if (to == NULL || to->mode > MPS) return leave(INVALID_ARGUMENT);
    if (to->version != VERSION(struct process_list, 1)) return leave(ARGUMENT_VERSION_MISMATCH);
    return leave(list(s, (enum kind)to->mode, &to->count, to->array, sizeof(struct process_detail)));
}

/* --- what each used --- */

static bool used(const char *line, const struct section *s, uint64_t after, struct process_info *to) {
    *to = (struct process_info){.at = sampled_us(s), .pid = word_unsigned(line, "pid", 0)};
    word_u64(line, "at", &to->at);
    if (!word(line, "sm") && !word(line, "mem") && !word(line, "enc") && !word(line, "dec")) return false;
    to->sm = word_unsigned(line, "sm", 0);
    to->memory = word_unsigned(line, "mem", 0);
    to->encoder = word_unsigned(line, "enc", 0);
    to->decoder = word_unsigned(line, "dec", 0);
    to->jpeg = word_unsigned(line, "jpg", 0);
    to->ofa = word_unsigned(line, "ofa", 0);
    return to->at > after;
}

/* Only samples that are newer than the last one seen; none of them is NOT_FOUND. */
static Return samples_of(struct section *s, uint64_t after, unsigned *count, void *array, size_t size) {
    struct walk w = walk_of(s);
    const struct section *whose;
    struct process_info one;
    const char *line, *refused = text_of(s, "processes.used");
    unsigned room = *count, found = 0;
    if (refused) return code_named(refused, UNKNOWN);
    if (s->device || mig_on(s)) return NOT_SUPPORTED;
    while ((line = next(&w, &whose))) {
        if (!used(line, s, after, &one)) continue;
        struct process_sample old = {one.pid, one.at, one.sm, one.memory, one.encoder, one.decoder};
        const void *from = size == sizeof old ? (void *)&old : &one;
        if (array && found < room) memcpy((char *)array + found * size, from, size);
        found++;
    }
    *count = found;
    return found == 0 ? NOT_FOUND : found > (array ? room : 0) ? INSUFFICIENT_SIZE : OK;
}

API Return nvmlDeviceGetProcessUtilization(struct handle *h, struct process_sample *array,
                                           unsigned *count, unsigned long long after) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetProcessUtilization, h, &s);
    if (code != OK) return code;
    return leave(count ? samples_of(s, after, count, array, sizeof *array) : INVALID_ARGUMENT);
}

API Return nvmlDeviceGetProcessesUtilizationInfo(struct handle *h, struct process_infos *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetProcessesUtilizationInfo, h, &s);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    if (to->version != VERSION(struct process_infos, 1)) return leave(ARGUMENT_VERSION_MISMATCH);
    return leave(samples_of(s, to->last, &to->count, to->array, sizeof *to->array));
}

/* --- the ring --- */

API Return nvmlDeviceGetSamples(struct handle *h, unsigned type, unsigned long long after,
                                unsigned *value_type, unsigned *count, struct sample *to) {
    enum { RING = 120, APART_US = 166667 };
    static const char *const keys[] = {"samples.power", "samples.gpu", "samples.memory",
                                       "samples.encoder", "samples.decoder", "samples.clock.processor",
                                       "samples.clock.memory"};
    struct section *s;
    uint64_t values[RING];
    unsigned has = 0, found = 0;
    Return code = enter(F_nvmlDeviceGetSamples, h, &s);
    if (code != OK) return code;
    if (count == NULL || value_type == NULL || type >= sizeof keys / sizeof *keys)
        return leave(INVALID_ARGUMENT);
    if (s->device || mig_on(s)) return leave(NOT_SUPPORTED);
    if ((code = numbers(s, keys[type], 1, values)) != OK) return leave(code);
    while (has < RING && numbers(s, keys[type], has + 1, values) == OK) has++;
    *value_type = U32;
    if (to == NULL) {
        *count = RING; /* how large the ring is, whatever is in it */
        return leave(OK);
    }
    /* A live ring moves on in whole steps, so two calls agree on the time of a sample. */
    uint64_t newest = sampled_us(s);
    if (flag(s, "live")) newest -= newest % APART_US;
    for (unsigned i = 0; i < has; i++) {
        uint64_t at = newest - (uint64_t)(has - 1 - i) * APART_US;
        if (at <= after) continue;
        if (found < *count) to[found] = (struct sample){at, {.u64 = values[i]}};
        found++;
    }
    if (found > *count) return leave(INSUFFICIENT_SIZE);
    *count = found;
    return leave(found ? OK : NOT_FOUND);
}
