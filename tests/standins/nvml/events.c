/* What a client waits for: events; and GPM, whose answer needs two samples.
 *
 *   event = SEQUENCE TYPE DATA [GI CI]   SEQUENCE grows over the life of the state's file; TYPE is a
 *                                        bit of nvmlEventType…, 8 is an XID, whose number is DATA
 *   events.supported = BITS
 *   gpm = 1, gpm.streaming = 1, gpm.METRIC = NUMBER or an error; of a slice for its GPU instance */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 5, MOST = 256 };

struct event_set {
    unsigned count;
    struct { struct handle *device; uint64_t types, seen; } of[MOST];
};

API Return nvmlEventSetCreate(struct event_set **to) {
    Return code = enter(F_nvmlEventSetCreate, NULL, NULL);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    *to = calloc(1, sizeof **to);
    return leave(*to ? OK : MEMORY);
}

API Return nvmlEventSetFree(struct event_set *set) {
    Return code = enter(F_nvmlEventSetFree, NULL, NULL);
    if (code != OK) return code;
    free(set);
    return leave(OK);
}

API Return nvmlDeviceGetSupportedEventTypes(struct handle *h, uint64_t *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetSupportedEventTypes, h, &s);
    if (code != OK) return code;
    return leave(u64_of(s, "events.supported", to));
}

/* The first event after `seen` of these types; the number of the newest in `seen` if there is none. */
static bool next_event(const struct section *s, uint64_t types, uint64_t *seen, struct event *to) {
    uint64_t newest = *seen;
    for (size_t i = 0; i < s->count; i++) {
        unsigned long long sequence, type, data;
        unsigned gi = NONE, ci = NONE;
        if (strcmp(s->entries[i].key, "event") != 0 ||
            sscanf(s->entries[i].value, "%llu %llu %llu %u %u", &sequence, &type, &data, &gi, &ci) < 3 ||
            sequence <= *seen)
            continue;
        if (type & types) {
            *seen = sequence;
            to->type = type;
            to->data = data;
            to->gi = gi;
            to->ci = ci;
            return true;
        }
        if (sequence > newest) newest = sequence;
    }
    *seen = newest;
    return false;
}

API Return nvmlDeviceRegisterEvents(struct handle *h, unsigned long long types, struct event_set *set) {
    struct section *s;
    uint64_t supported;
    Return code = enter(F_nvmlDeviceRegisterEvents, h, &s);
    if (code != OK) return code;
    if (set == NULL) return leave(INVALID_ARGUMENT);
    if ((code = u64_of(s, "events.supported", &supported)) != OK) return leave(code);
    if (types & ~supported) return leave(NOT_SUPPORTED);
    if (set->count == MOST) return leave(MEMORY);
    uint64_t seen = 0;
    next_event(s, 0, &seen, NULL); /* what was before is never told */
    set->of[set->count].device = h;
    set->of[set->count].types = types;
    set->of[set->count++].seen = seen;
    return leave(OK);
}

/* One look at all devices: OK, a lost device after its last event was told, or TIMEOUT. */
static Return look(struct event_set *set, struct event *to) {
    bool lost = false;
    for (unsigned i = 0; i < set->count; i++) {
        struct section *s = section_of(set->of[i].device);
        if (s && next_event(s, set->of[i].types, &set->of[i].seen, to)) {
            to->device = set->of[i].device;
            return OK;
        }
        lost |= s == NULL || flag(s, "lost");
    }
    return lost ? GPU_IS_LOST : TIMEOUT;
}

static Return wait_for(enum function f, struct event_set *set, struct event *to, unsigned timeout_ms) {
    if (set == NULL || to == NULL) return INVALID_ARGUMENT;
    uint64_t until = now_us() + (uint64_t)timeout_ms * 1000;
    Return code = enter(f, NULL, NULL);
    if (code != OK) return code;
    for (;;) {
        code = look(set, to);
        if (code != TIMEOUT || now_us() >= until) return leave(code);
        wait_unlocked(LOOK_MS);
        leave(OK);
        /* Looks at the state and at the library again, and is one call in the counting. */
        if ((code = enter(FUNCTION_COUNT, NULL, NULL)) != OK) return code;
    }
}

API Return nvmlEventSetWait_v2(struct event_set *set, struct event *to, unsigned timeout_ms) {
    return wait_for(F_nvmlEventSetWait_v2, set, to, timeout_ms);
}
API Return nvmlEventSetWait(struct event_set *set, struct event_v1 *to, unsigned timeout_ms) {
    struct event all;
    Return code = wait_for(F_nvmlEventSetWait, set, to ? &all : NULL, timeout_ms);
    if (code == OK) *to = (struct event_v1){all.device, all.type, all.data};
    return code;
}

/* --- GPM --- */

enum { APART_US = 100000 };

struct gpm_sample { struct handle *device; unsigned gi; uint64_t at; };

API Return nvmlGpmQueryDeviceSupport(struct handle *h, struct versioned *to) {
    struct section *s;
    Return code = enter(F_nvmlGpmQueryDeviceSupport, h, &s);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    if (to->version != 1) return leave(ARGUMENT_VERSION_MISMATCH); /* here it is the plain number */
    to->value = 0;
    code = unsigned_of(s, "gpm", &to->value);
    return leave(code == NOT_SUPPORTED ? OK : code);
}

API Return nvmlGpmSampleAlloc(struct gpm_sample **to) {
    Return code = enter(F_nvmlGpmSampleAlloc, NULL, NULL);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    *to = calloc(1, sizeof **to);
    return leave(*to ? OK : MEMORY);
}

API Return nvmlGpmSampleFree(struct gpm_sample *sample) {
    Return code = enter(F_nvmlGpmSampleFree, NULL, NULL);
    if (code != OK) return code;
    free(sample);
    return leave(OK);
}

/* The slice of a GPU instance; the device itself for none. */
static const struct section *instance(const struct section *s, unsigned gi) {
    unsigned has;
    if (gi == NONE) return s;
    for (unsigned i = 1; s && i <= s->slices; i++)
        if (unsigned_of(&s[i], "gi", &has) == OK && has == gi) return &s[i];
    return NULL;
}

static Return gpm_take(enum function f, struct handle *h, unsigned gi, struct gpm_sample *to) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    if (!flag(s, "gpm")) return leave(text_of(s, "gpm") ? code_named(text_of(s, "gpm"), NOT_SUPPORTED)
                                                       : NOT_SUPPORTED);
    if (instance(s, gi) == NULL) return leave(NOT_FOUND);
    *to = (struct gpm_sample){h, gi, now_us()};
    return leave(OK);
}
API Return nvmlGpmSampleGet(struct handle *h, struct gpm_sample *to) {
    return gpm_take(F_nvmlGpmSampleGet, h, NONE, to);
}
API Return nvmlGpmMigSampleGet(struct handle *h, unsigned gi, struct gpm_sample *to) {
    return gpm_take(F_nvmlGpmMigSampleGet, h, gi, to);
}

/* Two samples of one thing, the first one first, a tenth of a second apart or more. */
API Return nvmlGpmMetricsGet(struct gpm_get *get) {
    char key[32];
    if (get == NULL || get->first == NULL || get->second == NULL) return INVALID_ARGUMENT;
    Return code = enter(F_nvmlGpmMetricsGet, NULL, NULL);
    if (code != OK) return code;
    struct gpm_sample *first = get->first, *second = get->second;
    if (get->version != 1) return leave(ARGUMENT_VERSION_MISMATCH);
    if (first->device == NULL || first->device != second->device || first->gi != second->gi ||
        second->at < first->at + APART_US)
        return leave(INVALID_ARGUMENT);
    const struct section *s = instance(section_of(first->device), first->gi);
    if (s == NULL) return leave(GPU_IS_LOST);
    for (unsigned i = 0; i < get->count; i++) {
        struct gpm_metric *metric = &get->metrics[i];
        snprintf(key, sizeof key, "gpm.%u", metric->id);
        metric->value = 0;
        metric->code = number(s, key, &metric->value);
        metric->short_name = metric->long_name = metric->unit = "";
    }
    return leave(OK);
}
