/* The state: read, searched, and what every call goes through. state.h says what it looks like. */
#define _GNU_SOURCE
#include "state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LARGEST = 16 << 20,   /* bytes of a state */
    LOOK_MS = 5,          /* how often a call that hangs looks whether it still has to */
    PCIE_BLOCKS_MS = 20,  /* the real call measures for so long */
    HANDLES = 4096,
    CALL_SLOTS = 256,
};

struct handle {
    char uuid[96];
    unsigned long reading;  /* of which reading `section` is */
    struct section *section;
};

static struct {
    char *text;
    struct entry *entries;
    struct section *sections; /* the first is what stands above all */
    size_t section_count;
    struct stat file;
    bool bad;
    unsigned long reading; /* counts them */
} state;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle handles[HANDLES];
static unsigned handles_used;
static unsigned initialised; /* nvmlInit less nvmlShutdown */
static uint64_t generation;  /* of the driver at the first nvmlInit */
static struct handle *visible[HANDLES];
static unsigned visible_count;

/* --- counting --- */

struct slot { char name[56]; uint64_t count; };
SIZE(struct slot, 64);
_Static_assert((int)FUNCTION_COUNT <= (int)CALL_SLOTS, "more functions than slots");

static const char *const names[] = {
#define NAME_OF(since, name) #name,
    FUNCTIONS(NAME_OF)
#undef NAME_OF
    "", /* of FUNCTION_COUNT: a call that goes on */
};

static struct slot *slots_of_file(void) {
    const char *path = getenv("NVML_STANDIN_CALLS");
    int fd = path && *path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *at = MAP_FAILED;
    if (fd < 0) return NULL;
    if (ftruncate(fd, CALL_SLOTS * sizeof(struct slot)) == 0)
        at = mmap(NULL, CALL_SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}

/* A function has the same slot in every process and for every driver, so none is ever claimed. */
static void counted(enum function f) {
    static struct slot *slots;
    static bool asked;
    if (!asked) {
        slots = slots_of_file();
        asked = true;
    }
    if (slots == NULL || f == FUNCTION_COUNT) return; /* a call that goes on: it was counted */
    if (slots[f].name[0] == 0) strncpy(slots[f].name, names[f], sizeof slots[f].name - 1);
    __atomic_add_fetch(&slots[f].count, 1, __ATOMIC_RELAXED);
}

/* --- time --- */

uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t state_us(void) {
    return (uint64_t)state.file.st_mtim.tv_sec * 1000000 + (uint64_t)state.file.st_mtim.tv_nsec / 1000;
}

uint64_t sampled_us(const struct section *s) {
    return flag(s, "live") ? now_us() : state_us();
}

/* So that one call that waits keeps no other one from its answer. */
void wait_unlocked(unsigned ms) {
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    pthread_mutex_unlock(&lock);
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
    pthread_mutex_lock(&lock);
}

/* --- reading --- */

static bool bad(const char *path, size_t line, const char *why) {
    if (line) fprintf(stderr, "nvml stand-in: %s, line %zu: %s\n", path, line, why);
    else fprintf(stderr, "nvml stand-in: %s: %s\n", path, why);
    return false;
}

static char *trimmed(char *from) {
    char *end = from + strlen(from);
    while (isspace((unsigned char)*from)) from++;
    while (end > from && isspace((unsigned char)end[-1])) *--end = 0;
    return from;
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static bool read_line(char *line, const char *path, size_t number_) {
    struct section *last = &state.sections[state.section_count - 1];
    char *equals;
    line = trimmed(line);
    if (*line == 0 || *line == '#') return true;
    if (*line == '[') {
        bool slice = strcmp(line, "[mig]") == 0;
        struct section *device = last->device ? last->device : last;
        if (!slice && strcmp(line, "[device]") != 0)
            return bad(path, number_, "a section is [device] or [mig]");
        if (slice && device == state.sections) return bad(path, number_, "[mig] without a [device]");
        state.sections[state.section_count++] = (struct section){
            .device = slice ? device : NULL,
            .entries = last->entries + last->count,
            .order = slice ? device->slices++ : 0,
        };
        return true;
    }
    if ((equals = strchr(line, '=')) == NULL) return bad(path, number_, "no `key = value`");
    *equals = 0;
    struct entry *entry = &state.entries[last->entries - state.entries + (ptrdiff_t)last->count++];
    entry->key = trimmed(line);
    entry->value = trimmed(equals + 1);
    if (begins(entry->key, "delay") || begins(entry->key, "hang") || begins(entry->key, "error."))
        last->scripted = true;
    return true;
}

static bool read_text(const char *path) {
    size_t lines = 1, number_ = 0;
    char *rest = state.text;
    for (const char *c = state.text; *c; c++) lines += *c == '\n';
    state.entries = calloc(lines, sizeof *state.entries);
    state.sections = calloc(lines + 1, sizeof *state.sections);
    if (state.entries == NULL || state.sections == NULL) return bad(path, 0, "no memory");
    state.sections[0].entries = state.entries;
    state.section_count = 1;
    while (rest) {
        char *line = strsep(&rest, "\n");
        if (!read_line(line, path, ++number_)) return false;
    }
    for (size_t i = 1; i < state.section_count; i++) {
        const char *uuid = text_of(&state.sections[i], "uuid");
        if (uuid == NULL || strlen(uuid) >= sizeof handles[0].uuid)
            return bad(path, 0, "a section has no uuid of less than 96 characters");
        if (by_key("uuid", uuid, true) != &state.sections[i])
            return bad(path, 0, "a uuid stands there twice");
    }
    return true;
}

static bool read_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    size_t have = 0, size;
    if (fd < 0 || fstat(fd, &state.file) != 0 || !S_ISREG(state.file.st_mode) ||
        state.file.st_size > LARGEST) {
        if (fd >= 0) close(fd);
        return bad(path, 0, "cannot be read as a state");
    }
    size = (size_t)state.file.st_size;
    if ((state.text = calloc(1, size + 1)) == NULL) {
        close(fd);
        return bad(path, 0, "no memory");
    }
    while (have < size && (got = read(fd, state.text + have, size - have)) > 0) have += (size_t)got;
    close(fd);
    if (strlen(state.text) != have) return bad(path, 0, "has NUL bytes");
    return read_text(path);
}

static void refresh(void) {
    const char *path = getenv("NVML_STANDIN");
    struct stat file = {0};
    if (path == NULL || *path == 0) path = "(NVML_STANDIN is not set)";
    if (stat(path, &file) != 0) memset(&file, 0, sizeof file);
    if (state.reading && file.st_ino == state.file.st_ino && file.st_size == state.file.st_size &&
        file.st_mtim.tv_sec == state.file.st_mtim.tv_sec &&
        file.st_mtim.tv_nsec == state.file.st_mtim.tv_nsec)
        return;
    free(state.text);
    free(state.entries);
    free(state.sections);
    state.text = NULL;
    state.entries = NULL;
    state.sections = NULL;
    state.section_count = 0;
    state.file = file;
    state.reading++;
    state.bad = !read_file(path);
}

/* --- values --- */

struct section *top(void) { return state.sections; }

const char *text_of(const struct section *s, const char *key) {
    for (size_t i = s->count; i > 0; i--)
        if (strcmp(s->entries[i - 1].key, key) == 0) return s->entries[i - 1].value;
    return NULL;
}

Return code_named(const char *name, Return otherwise) {
    static const struct { const char *name; Return code; } codes[] = {
#define NAMED(number, name, words) {#name, number},
        RETURNS(NAMED)
#undef NAMED
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i].name, name) == 0) return codes[i].code;
    return otherwise;
}

API const char *nvmlErrorString(Return code) {
    static const struct { Return code; const char *words; } all[] = {
#define WORDS(number, name, words) {number, words},
        RETURNS(WORDS)
#undef WORDS
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].code == code) return all[i].words;
    return "Unknown Error";
}

Return parse_u64(const char *value, uint64_t *to) {
    char *end;
    if (isupper((unsigned char)*value)) return code_named(value, UNKNOWN);
    if (strcmp(value, "n/a") == 0) {
        *to = NOT_AVAILABLE;
        return OK;
    }
    if (strchr(value, '@')) {
        double start, rate, since;
        if (sscanf(value, "%lf+%lf@%lf", &start, &rate, &since) != 3) return UNKNOWN;
        *to = (uint64_t)(start + rate * fmax(0, (double)now_us() / 1e6 - since));
        return OK;
    }
    /* A negative number wraps, and is itself again in a signed field. */
    *to = strtoull(value, &end, begins(value, "0x") ? 16 : 10);
    if (*end == '.') *to = (uint64_t)strtod(value, &end);
    return end == value || (*end && !isspace((unsigned char)*end)) ? UNKNOWN : OK;
}

Return u64_of(const struct section *s, const char *key, uint64_t *to) {
    const char *value = text_of(s, key);
    return value ? parse_u64(value, to) : NOT_SUPPORTED;
}

Return unsigned_of(const struct section *s, const char *key, unsigned *to) {
    uint64_t value;
    Return code = u64_of(s, key, &value);
    if (code == OK) *to = (unsigned)value;
    return code;
}

Return number(const struct section *s, const char *key, double *to) {
    const char *value = text_of(s, key);
    char *end;
    if (value == NULL) return NOT_SUPPORTED;
    if (isupper((unsigned char)*value)) return code_named(value, UNKNOWN);
    *to = strtod(value, &end);
    return end == value || *end ? UNKNOWN : OK;
}

Return numbers(const struct section *s, const char *key, unsigned wanted, uint64_t *to) {
    const char *value = text_of(s, key);
    if (value == NULL) return NOT_SUPPORTED;
    for (unsigned i = 0; i < wanted; i++) {
        Return code = parse_u64(value, &to[i]);
        if (code != OK) return code;
        value += strcspn(value, " ");
        value += strspn(value, " ");
        if (*value == 0 && i + 1 < wanted) return UNKNOWN;
    }
    return OK;
}

bool flag(const struct section *s, const char *key) {
    uint64_t value;
    return u64_of(s, key, &value) == OK && value != 0;
}

Return copy(const struct section *s, const char *key, char *to, unsigned size) {
    const char *value = text_of(s, key);
    if (to == NULL) return INVALID_ARGUMENT;
    if (value == NULL) return NOT_SUPPORTED;
    if (code_named(value, OK) != OK) return code_named(value, OK);
    if (strlen(value) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(to, value);
    return OK;
}

/* --- devices --- */

struct section *by_key(const char *key, const char *value, bool slices) {
    for (size_t i = 1; i < state.section_count; i++) {
        const char *has = text_of(&state.sections[i], key);
        if (has && (slices || !state.sections[i].device) && strcasecmp(has, value) == 0)
            return &state.sections[i];
    }
    return NULL;
}

/* A handle is a UUID, so it outlives every reading of the state. */
static struct handle *handle_to(const char *uuid) {
    for (unsigned i = 0; i < handles_used; i++)
        if (strcmp(handles[i].uuid, uuid) == 0) return &handles[i];
    if (handles_used == HANDLES) return NULL;
    strcpy(handles[handles_used].uuid, uuid); /* as long as `read_text` lets it be */
    return &handles[handles_used++];
}

Return handle_of(const struct section *s, struct handle **to) {
    if (to == NULL) return INVALID_ARGUMENT;
    *to = handle_to(text_of(s, "uuid"));
    return *to ? OK : MEMORY;
}

struct section *section_of(struct handle *h) {
    if (h->reading != state.reading) {
        h->section = by_key("uuid", h->uuid, true);
        h->reading = state.reading;
    }
    return h->section;
}

bool mig_on(const struct section *s) {
    return s->device == NULL && flag(s, "mig");
}

/* --- what every call goes through --- */

static bool valid(const struct handle *h) {
    uintptr_t at = (uintptr_t)h, first = (uintptr_t)handles;
    return at >= first && at < (uintptr_t)(handles + handles_used) && (at - first) % sizeof *h == 0;
}

/* The value of `KEY.FUNCTION`, else of `KEY`: of the device, else of all. */
static const char *scripted(enum function f, struct section *s, const char *key) {
    char of_function[96];
    snprintf(of_function, sizeof of_function, "%s.%s", key, names[f]);
    for (; s; s = s == state.sections ? NULL : s->device ? s->device : state.sections) {
        const char *value = NULL;
        if (s->scripted && (value = text_of(s, of_function)) == NULL) value = text_of(s, key);
        if (value) return value;
    }
    return NULL;
}

static bool any_scripted(const struct section *s) {
    return state.sections[0].scripted || (s && (s->scripted || (s->device && s->device->scripted)));
}

static struct section *about(struct handle *h) {
    struct section *s = valid(h) && !state.bad ? section_of(h) : NULL;
    return s ? s : state.bad ? NULL : state.sections;
}

static Return slowed(enum function f, struct handle *h) {
    struct section *s = about(h);
    uint64_t ms = f == F_nvmlDeviceGetPcieThroughput ? PCIE_BLOCKS_MS : 0;
    const char *value = s && any_scripted(s) ? scripted(f, s, "delay") : NULL;
    if (value) parse_u64(value, &ms);
    if (ms) {
        wait_unlocked((unsigned)ms);
        refresh();
    }
    while ((s = about(h)) && any_scripted(s) && (value = scripted(f, s, "hang")) && strcmp(value, "0")) {
        wait_unlocked(LOOK_MS);
        refresh();
    }
    value = s && any_scripted(s) ? scripted(f, s, "error") : NULL;
    return value ? code_named(value, UNKNOWN) : OK;
}

static Return usable(struct handle *h, struct section **s) {
    uint64_t now = 0;
    if (!initialised) return UNINITIALIZED;
    if (state.bad) return UNKNOWN;
    u64_of(state.sections, "generation", &now);
    if (now != generation) {
        const char *stale = text_of(state.sections, "stale");
        return stale ? code_named(stale, UNKNOWN) : UNKNOWN;
    }
    if (s == NULL) return OK;
    if (!valid(h)) return INVALID_ARGUMENT;
    *s = section_of(h);
    if (*s == NULL || flag(*s, "lost") || ((*s)->device && flag((*s)->device, "lost")))
        return GPU_IS_LOST;
    return OK;
}

void enter_uninitialised(enum function f) {
    pthread_mutex_lock(&lock);
    counted(f);
    refresh();
}

Return enter(enum function f, struct handle *h, struct section **s) {
    enter_uninitialised(f);
    Return code = slowed(f, s ? h : NULL);
    Return can = usable(h, s);
    if (can != OK) code = can;
    return code == OK ? OK : leave(code);
}

Return leave(Return code) {
    pthread_mutex_unlock(&lock);
    return code;
}

/* --- the library and its list of devices --- */

static Return init(enum function f) {
    enter_uninitialised(f);
    Return code = slowed(f, NULL);
    const char *said = state.bad ? "UNKNOWN" : text_of(state.sections, "init");
    if (code == OK && said) code = code_named(said, UNKNOWN);
    if (code != OK) return leave(code);
    if (initialised++) return leave(OK);
    generation = 0;
    u64_of(state.sections, "generation", &generation);
    visible_count = 0;
    for (size_t i = 1; i < state.section_count && visible_count < HANDLES; i++)
        if (!state.sections[i].device && handle_of(&state.sections[i], &visible[visible_count]) == OK)
            visible_count++;
    return leave(OK);
}

API Return nvmlInit(void) { return init(F_nvmlInit); }
API Return nvmlInit_v2(void) { return init(F_nvmlInit_v2); }
API Return nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return init(F_nvmlInitWithFlags);
}

API Return nvmlShutdown(void) {
    enter_uninitialised(F_nvmlShutdown);
    Return code = slowed(F_nvmlShutdown, NULL);
    if (code == OK && !initialised) code = UNINITIALIZED;
    if (code == OK) initialised--;
    return leave(code);
}

static Return device_count(enum function f, unsigned *to) {
    Return code = enter(f, NULL, NULL);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    *to = visible_count;
    return leave(OK);
}

API Return nvmlDeviceGetCount(unsigned *to) { return device_count(F_nvmlDeviceGetCount, to); }
API Return nvmlDeviceGetCount_v2(unsigned *to) { return device_count(F_nvmlDeviceGetCount_v2, to); }

/* A device that fell off the bus has no handle any more; those that were given answer the same. */
static Return handle_if_there(struct section *s, struct handle **to) {
    if (s == NULL || flag(s, "lost") || (s->device && flag(s->device, "lost"))) return GPU_IS_LOST;
    const char *refused = text_of(s, "handle"); /* handle = NO_PERMISSION, ... */
    return refused ? code_named(refused, UNKNOWN) : handle_of(s, to);
}

static Return by_index(enum function f, unsigned index, struct handle **to) {
    Return code = enter(f, NULL, NULL);
    if (code != OK) return code;
    if (index >= visible_count || to == NULL) return leave(INVALID_ARGUMENT);
    struct handle *h = visible[index];
    if (about(h) != state.sections && (code = slowed(f, h)) != OK) return leave(code);
    return leave(handle_if_there(section_of(h), to));
}

API Return nvmlDeviceGetHandleByIndex(unsigned index, struct handle **to) {
    return by_index(F_nvmlDeviceGetHandleByIndex, index, to);
}
API Return nvmlDeviceGetHandleByIndex_v2(unsigned index, struct handle **to) {
    return by_index(F_nvmlDeviceGetHandleByIndex_v2, index, to);
}

API Return nvmlDeviceGetIndex(struct handle *h, unsigned *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetIndex, h, &s);
    if (code != OK) return code;
    if (s->device) return leave(NOT_SUPPORTED);
    for (unsigned i = 0; i < visible_count; i++)
        if (visible[i] == h) {
            *to = i;
            return leave(OK);
        }
    return leave(NOT_FOUND);
}

static Return by_text(enum function f, const char *key, const char *value, struct handle **to) {
    Return code = enter(f, NULL, NULL);
    if (code != OK) return code;
    if (value == NULL || to == NULL) return leave(INVALID_ARGUMENT);
    struct section *s = by_key(key, value, strcmp(key, "uuid") == 0);
    return leave(s ? handle_if_there(s, to) : NOT_FOUND);
}

API Return nvmlDeviceGetHandleByUUID(const char *uuid, struct handle **to) {
    return by_text(F_nvmlDeviceGetHandleByUUID, "uuid", uuid, to);
}
API Return nvmlDeviceGetHandleByUUIDV(const struct uuid *uuid, struct handle **to) {
    char text[sizeof uuid->value.text + 1] = "";
    if (uuid == NULL || uuid->type != 1) return INVALID_ARGUMENT;
    if (uuid->version != VERSION(struct uuid, 1)) return ARGUMENT_VERSION_MISMATCH;
    memcpy(text, uuid->value.text, sizeof uuid->value.text);
    return by_text(F_nvmlDeviceGetHandleByUUIDV, "uuid", text, to);
}
API Return nvmlDeviceGetHandleBySerial(const char *serial, struct handle **to) {
    return by_text(F_nvmlDeviceGetHandleBySerial, "serial", serial, to);
}
API Return nvmlDeviceGetHandleByPciBusId(const char *bus, struct handle **to) {
    return by_text(F_nvmlDeviceGetHandleByPciBusId, "pci", bus, to);
}
API Return nvmlDeviceGetHandleByPciBusId_v2(const char *bus, struct handle **to) {
    return by_text(F_nvmlDeviceGetHandleByPciBusId_v2, "pci", bus, to);
}
