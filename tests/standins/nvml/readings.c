/* What one line or a few of them answer. The key of each function stands beside it. */
#include "state.h"

#include <stdio.h>
#include <string.h>

/* The driver does not say these of a device whose MIG is on, whatever the card could. */
static bool hidden_by_mig(const char *key) {
    static const char *const keys[] = {"utilization.gpu", "utilization.memory", "encoder",
                                       "decoder", "jpeg", "ofa", "cores"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], key) == 0) return true;
    return false;
}

static Return one(enum function f, struct handle *h, const char *key, unsigned *to) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    return leave(mig_on(s) && hidden_by_mig(key) ? NOT_SUPPORTED : unsigned_of(s, key, to));
}

static Return one_u64(enum function f, struct handle *h, const char *key, uint64_t *to) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    return leave(to ? u64_of(s, key, to) : INVALID_ARGUMENT);
}

static Return two(enum function f, struct handle *h, const char *first, const char *second,
                  unsigned *to, unsigned *other) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if (to == NULL || other == NULL) return leave(INVALID_ARGUMENT);
    if ((code = unsigned_of(s, first, to)) == OK && unsigned_of(s, second, other) != OK) *other = *to;
    return leave(code);
}

static Return words(enum function f, struct handle *h, const char *key, char *to, unsigned size) {
    struct section *s;
    Return code = enter(f, h, &s);
    return code == OK ? leave(copy(s, key, to, size)) : code;
}

#define ONE(name, key) \
    API Return name(struct handle *h, unsigned *to) { return one(F_##name, h, key, to); }
#define BIG(name, key) \
    API Return name(struct handle *h, uint64_t *to) { return one_u64(F_##name, h, key, to); }
#define TWO(name, key, other_key)                                            \
    API Return name(struct handle *h, unsigned *to, unsigned *other) {       \
        return two(F_##name, h, key, other_key, to, other);                  \
    }
#define TEXT(name, key)                                                      \
    API Return name(struct handle *h, char *to, unsigned size) {             \
        return words(F_##name, h, key, to, size);                            \
    }

TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetBoardPartNumber, "part")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
ONE(nvmlDeviceGetMinorNumber, "minor")
ONE(nvmlDeviceGetBrand, "brand")               /* nvmlBrandType_t */
ONE(nvmlDeviceGetArchitecture, "architecture") /* nvmlDeviceArchitecture_t */
ONE(nvmlDeviceGetNumGpuCores, "cores")
ONE(nvmlDeviceGetMemoryBusWidth, "memory.bus")
ONE(nvmlDeviceGetNumaNodeId, "numa")
ONE(nvmlDeviceGetPowerUsage, "power")          /* mW, as all of power */
ONE(nvmlDeviceGetEnforcedPowerLimit, "power.enforced")
ONE(nvmlDeviceGetPowerManagementLimit, "power.limit")
ONE(nvmlDeviceGetPowerManagementDefaultLimit, "power.default")
TWO(nvmlDeviceGetPowerManagementLimitConstraints, "power.min", "power.max")
ONE(nvmlDeviceGetPowerManagementMode, "power.managed")
BIG(nvmlDeviceGetTotalEnergyConsumption, "energy") /* mJ: a counter */
ONE(nvmlDeviceGetFanSpeed, "fan")
ONE(nvmlDeviceGetNumFans, "fans")
ONE(nvmlDeviceGetPerformanceState, "pstate")
ONE(nvmlDeviceGetPowerState, "pstate")
ONE(nvmlDeviceGetPersistenceMode, "persistence")
ONE(nvmlDeviceGetComputeMode, "compute")
ONE(nvmlDeviceGetDisplayMode, "display.mode")
ONE(nvmlDeviceGetDisplayActive, "display.active")
ONE(nvmlDeviceGetAccountingMode, "accounting")
ONE(nvmlDeviceGetVirtualizationMode, "virtualization")
TWO(nvmlDeviceGetDriverModel, "model", "model.pending")
TWO(nvmlDeviceGetDriverModel_v2, "model", "model.pending")
BIG(nvmlDeviceGetCurrentClocksThrottleReasons, "reasons")
BIG(nvmlDeviceGetCurrentClocksEventReasons, "reasons")
BIG(nvmlDeviceGetSupportedClocksThrottleReasons, "reasons.supported")
BIG(nvmlDeviceGetSupportedClocksEventReasons, "reasons.supported")
TWO(nvmlDeviceGetEccMode, "ecc", "ecc.pending")
ONE(nvmlDeviceGetDefaultEccMode, "ecc.default")
ONE(nvmlDeviceGetRetiredPagesPendingStatus, "retired.pending")
ONE(nvmlDeviceGetCurrPcieLinkGeneration, "pcie.generation")
ONE(nvmlDeviceGetMaxPcieLinkGeneration, "pcie.generation.max")
ONE(nvmlDeviceGetGpuMaxPcieLinkGeneration, "pcie.generation.gpu")
ONE(nvmlDeviceGetCurrPcieLinkWidth, "pcie.width")
ONE(nvmlDeviceGetMaxPcieLinkWidth, "pcie.width.max")
ONE(nvmlDeviceGetPcieReplayCounter, "pcie.replays")
ONE(nvmlDeviceGetPcieSpeed, "pcie.speed")
TWO(nvmlDeviceGetMigMode, "mig", "mig.pending")

/* --- of the whole system --- */

static Return of_system(enum function f, const char *key, char *to, unsigned size) {
    Return code = enter(f, NULL, NULL);
    return code == OK ? leave(copy(top(), key, to, size)) : code;
}
API Return nvmlSystemGetDriverVersion(char *to, unsigned size) {
    return of_system(F_nvmlSystemGetDriverVersion, "driver", to, size);
}
API Return nvmlSystemGetNVMLVersion(char *to, unsigned size) {
    return of_system(F_nvmlSystemGetNVMLVersion, "nvml", to, size);
}
API Return nvmlSystemGetDriverBranch(struct branch *to, unsigned size) {
    (void)size;
    if (to == NULL) return INVALID_ARGUMENT;
    if (to->version != VERSION(struct branch, 1)) return ARGUMENT_VERSION_MISMATCH;
    return of_system(F_nvmlSystemGetDriverBranch, "branch", to->name, sizeof to->name);
}
static Return cuda(enum function f, unsigned *to) {
    Return code = enter(f, NULL, NULL);
    if (code != OK) return code;
    return leave(to ? unsigned_of(top(), "cuda", to) : INVALID_ARGUMENT);
}
API Return nvmlSystemGetCudaDriverVersion(unsigned *to) {
    return cuda(F_nvmlSystemGetCudaDriverVersion, to);
}
API Return nvmlSystemGetCudaDriverVersion_v2(unsigned *to) {
    return cuda(F_nvmlSystemGetCudaDriverVersion_v2, to);
}

/* The first word of the command, of a process that runs here. */
API Return nvmlSystemGetProcessName(unsigned pid, char *to, unsigned size) {
    char path[64], said[4096];
    Return code = enter(F_nvmlSystemGetProcessName, NULL, NULL);
    if (code != OK) return code;
    if (to == NULL || size == 0) return leave(INVALID_ARGUMENT);
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return leave(NOT_FOUND);
    said[fread(said, 1, sizeof said - 1, file)] = 0;
    fclose(file);
    snprintf(to, size, "%s", said);
    return leave(OK);
}

/* --- capability = MAJOR MINOR; affinity = MASK --- */

API Return nvmlDeviceGetCudaComputeCapability(struct handle *h, int *major, int *minor) {
    struct section *s;
    uint64_t both[2];
    Return code = enter(F_nvmlDeviceGetCudaComputeCapability, h, &s);
    if (code != OK) return code;
    if ((code = numbers(s, "capability", 2, both)) != OK) return leave(code);
    *major = (int)both[0];
    *minor = (int)both[1];
    return leave(OK);
}

API Return nvmlDeviceGetCpuAffinity(struct handle *h, unsigned count, unsigned long *set) {
    struct section *s;
    uint64_t mask;
    Return code = enter(F_nvmlDeviceGetCpuAffinity, h, &s);
    if (code != OK) return code;
    if (set == NULL || count == 0) return leave(INVALID_ARGUMENT);
    if ((code = u64_of(s, "affinity", &mask)) != OK) return leave(code);
    memset(set, 0, count * sizeof *set);
    set[0] = mask;
    return leave(OK);
}

/* --- memory: .total .used (without reserved) .reserved .free (else what remains), in bytes --- */

static Return memory_of(enum function f, struct handle *h, struct memory_v2 *to) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if ((code = u64_of(s, "memory.total", &to->total)) != OK) return leave(code);
    if ((code = u64_of(s, "memory.used", &to->used)) != OK) return leave(code);
    if (u64_of(s, "memory.reserved", &to->reserved) != OK) to->reserved = 0;
    if (u64_of(s, "memory.free", &to->free) != OK) to->free = to->total - to->used - to->reserved;
    return leave(OK);
}

/* `used` of the first kind has what the driver keeps for itself in it. */
API Return nvmlDeviceGetMemoryInfo(struct handle *h, struct memory *to) {
    struct memory_v2 all;
    if (to == NULL) return INVALID_ARGUMENT;
    Return code = memory_of(F_nvmlDeviceGetMemoryInfo, h, &all);
    if (code == OK) *to = (struct memory){all.total, all.free, all.used + all.reserved};
    return code;
}

API Return nvmlDeviceGetMemoryInfo_v2(struct handle *h, struct memory_v2 *to) {
    struct memory_v2 all = {.version = VERSION(struct memory_v2, 2)};
    if (to == NULL) return INVALID_ARGUMENT;
    if (to->version != all.version) return ARGUMENT_VERSION_MISMATCH;
    Return code = memory_of(F_nvmlDeviceGetMemoryInfo_v2, h, &all);
    if (code == OK) *to = all;
    return code;
}

API Return nvmlDeviceGetBAR1MemoryInfo(struct handle *h, struct bar1 *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetBAR1MemoryInfo, h, &s);
    if (code != OK) return code;
    if ((code = u64_of(s, "bar1.total", &to->total)) != OK) return leave(code);
    if ((code = u64_of(s, "bar1.used", &to->used)) != OK) return leave(code);
    to->free = to->total - to->used;
    return leave(OK);
}

/* protected.memory = KIB KIB */
API Return nvmlDeviceGetConfComputeMemSizeInfo(struct handle *h, struct protected_memory *to) {
    struct section *s;
    uint64_t both[2];
    Return code = enter(F_nvmlDeviceGetConfComputeMemSizeInfo, h, &s);
    if (code != OK) return code;
    if ((code = numbers(s, "protected.memory", 2, both)) != OK) return leave(code);
    *to = (struct protected_memory){both[0], both[1]};
    return leave(OK);
}

/* --- utilisation, in percent --- */

API Return nvmlDeviceGetUtilizationRates(struct handle *h, struct utilization *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetUtilizationRates, h, &s);
    if (code != OK) return code;
    if (to == NULL) return leave(INVALID_ARGUMENT);
    if (mig_on(s)) return leave(NOT_SUPPORTED);
    if ((code = unsigned_of(s, "utilization.gpu", &to->gpu)) != OK) return leave(code);
    return leave(unsigned_of(s, "utilization.memory", &to->memory));
}

#define ENGINE(name, key)                                                     \
    API Return name(struct handle *h, unsigned *to, unsigned *period_us) {    \
        if (period_us) *period_us = 167000;                                   \
        return one(F_##name, h, key, to);                                     \
    }
ENGINE(nvmlDeviceGetEncoderUtilization, "encoder")
ENGINE(nvmlDeviceGetDecoderUtilization, "decoder")
ENGINE(nvmlDeviceGetJpgUtilization, "jpeg")
ENGINE(nvmlDeviceGetOfaUtilization, "ofa")

/* encoder.stats = SESSIONS FPS LATENCY_US */
API Return nvmlDeviceGetEncoderStats(struct handle *h, unsigned *count, unsigned *fps, unsigned *us) {
    struct section *s;
    uint64_t three[3];
    Return code = enter(F_nvmlDeviceGetEncoderStats, h, &s);
    if (code != OK) return code;
    if ((code = numbers(s, "encoder.stats", 3, three)) != OK) return leave(code);
    *count = (unsigned)three[0];
    *fps = (unsigned)three[1];
    *us = (unsigned)three[2];
    return leave(OK);
}

/* --- keys that an argument chooses --- */

static Return chosen(enum function f, struct handle *h, const char *const *keys, unsigned count,
                     unsigned which, unsigned *to) {
    return one(f, h, which < count ? keys[which] : "", to);
}
#define CHOSEN(f, h, keys, which, to) \
    chosen(f, h, keys, sizeof keys / sizeof *keys, which, to)

static const char *const clocks[] = {"clock.graphics", "clock.sm", "clock.memory", "clock.video"};
static const char *const clocks_max[] = {"clock.graphics.max", "clock.sm.max", "clock.memory.max",
                                         "clock.video.max"};
static const char *const clocks_set[] = {"clock.graphics.set", "clock.sm.set", "clock.memory.set",
                                         "clock.video.set"};
static const char *const sensors[] = {"temperature"};
static const char *const thresholds[] = {"temperature.shutdown", "temperature.slowdown",
                                         "temperature.memory.max", "temperature.gpu.max"};

API Return nvmlDeviceGetClockInfo(struct handle *h, unsigned type, unsigned *to) {
    return CHOSEN(F_nvmlDeviceGetClockInfo, h, clocks, type, to);
}
API Return nvmlDeviceGetMaxClockInfo(struct handle *h, unsigned type, unsigned *to) {
    return CHOSEN(F_nvmlDeviceGetMaxClockInfo, h, clocks_max, type, to);
}
API Return nvmlDeviceGetApplicationsClock(struct handle *h, unsigned type, unsigned *to) {
    return CHOSEN(F_nvmlDeviceGetApplicationsClock, h, clocks_set, type, to);
}
API Return nvmlDeviceGetClock(struct handle *h, unsigned type, unsigned id, unsigned *to) {
    if (id == 0) return CHOSEN(F_nvmlDeviceGetClock, h, clocks, type, to);
    if (id == 3) return CHOSEN(F_nvmlDeviceGetClock, h, clocks_max, type, to);
    return CHOSEN(F_nvmlDeviceGetClock, h, clocks_set, type, to);
}
API Return nvmlDeviceGetTemperature(struct handle *h, unsigned sensor, unsigned *to) {
    return CHOSEN(F_nvmlDeviceGetTemperature, h, sensors, sensor, to);
}
API Return nvmlDeviceGetTemperatureThreshold(struct handle *h, unsigned which, unsigned *to) {
    return CHOSEN(F_nvmlDeviceGetTemperatureThreshold, h, thresholds, which, to);
}
API Return nvmlDeviceGetTemperatureV(struct handle *h, struct temperature *to) {
    if (to == NULL) return INVALID_ARGUMENT;
    if (to->version != VERSION(struct temperature, 1)) return ARGUMENT_VERSION_MISMATCH;
    return CHOSEN(F_nvmlDeviceGetTemperatureV, h, sensors, to->sensor, (unsigned *)&to->value);
}

/* fan is of all; fan.N of one, where they differ; fan.rpm */
API Return nvmlDeviceGetFanSpeed_v2(struct handle *h, unsigned fan, unsigned *to) {
    char key[32];
    struct section *s;
    unsigned fans = 1;
    Return code = enter(F_nvmlDeviceGetFanSpeed_v2, h, &s);
    if (code != OK) return code;
    unsigned_of(s, "fans", &fans);
    if (fan >= fans) return leave(INVALID_ARGUMENT);
    snprintf(key, sizeof key, "fan.%u", fan);
    return leave(unsigned_of(s, text_of(s, key) ? key : "fan", to));
}
API Return nvmlDeviceGetFanSpeedRPM(struct handle *h, struct fan *to) {
    if (to == NULL) return INVALID_ARGUMENT;
    if (to->version != VERSION(struct fan, 1)) return ARGUMENT_VERSION_MISMATCH;
    return one(F_nvmlDeviceGetFanSpeedRPM, h, "fan.rpm", &to->rpm);
}

#define VERSIONED(name, key)                                                                  \
    API Return name(struct handle *h, struct versioned *to) {                                 \
        if (to == NULL) return INVALID_ARGUMENT;                                              \
        if (to->version != VERSION(struct versioned, 1)) return ARGUMENT_VERSION_MISMATCH;    \
        return one(F_##name, h, key, &to->value);                                             \
    }
VERSIONED(nvmlDeviceGetMarginTemperature, "temperature.margin")
VERSIONED(nvmlDeviceGetAddressingMode, "addressing")

/* repair = CHANNEL TPC */
API Return nvmlDeviceGetRepairStatus(struct handle *h, struct repair *to) {
    struct section *s;
    uint64_t both[2];
    Return code = enter(F_nvmlDeviceGetRepairStatus, h, &s);
    if (code != OK) return code;
    if (to->version != VERSION(struct repair, 1)) return leave(ARGUMENT_VERSION_MISMATCH);
    if ((code = numbers(s, "repair", 2, both)) != OK) return leave(code);
    to->channel = (unsigned)both[0];
    to->tpc = (unsigned)both[1];
    return leave(OK);
}

/* policy.N = nanoseconds slowed by nvmlPerfPolicyType_t N; the fields of the same name are of it too */
API Return nvmlDeviceGetViolationStatus(struct handle *h, unsigned policy, struct violation *to) {
    char key[32];
    struct section *s;
    Return code = enter(F_nvmlDeviceGetViolationStatus, h, &s);
    if (code != OK) return code;
    snprintf(key, sizeof key, "policy.%u", policy);
    to->at = sampled_us(s);
    return leave(u64_of(s, key, &to->spent));
}

/* --- ECC: ecc.corrected.volatile and so on; with .L for one memory location --- */

static const char *ecc_key(char *key, size_t size, unsigned type, unsigned counter) {
    snprintf(key, size, "ecc.%s.%s", type ? "uncorrected" : "corrected",
             counter ? "aggregate" : "volatile");
    return key;
}
API Return nvmlDeviceGetTotalEccErrors(struct handle *h, unsigned type, unsigned counter, uint64_t *to) {
    char key[64];
    return one_u64(F_nvmlDeviceGetTotalEccErrors, h, ecc_key(key, sizeof key, type, counter), to);
}
API Return nvmlDeviceGetMemoryErrorCounter(struct handle *h, unsigned type, unsigned counter,
                                           unsigned location, uint64_t *to) {
    char key[64], of_location[80];
    snprintf(of_location, sizeof of_location, "%s.%u", ecc_key(key, sizeof key, type, counter), location);
    return one_u64(F_nvmlDeviceGetMemoryErrorCounter, h, of_location, to);
}
API Return nvmlDeviceGetDetailedEccErrors(struct handle *h, unsigned type, unsigned counter,
                                          struct ecc_counts *to) {
    char key[64], of_location[80];
    uint64_t *const all[] = {&to->l1, &to->l2, &to->memory, &to->registers};
    struct section *s;
    Return code = enter(F_nvmlDeviceGetDetailedEccErrors, h, &s);
    ecc_key(key, sizeof key, type, counter);
    for (unsigned i = 0; code == OK && i < 4; i++) {
        snprintf(of_location, sizeof of_location, "%s.%u", key, i);
        if (u64_of(s, of_location, all[i]) != OK) *all[i] = 0;
        if (i == 3) return leave(u64_of(s, key, &(uint64_t){0}));
    }
    return code;
}

/* remapped = CORRECTED UNCORRECTED PENDING FAILED */
API Return nvmlDeviceGetRemappedRows(struct handle *h, unsigned *corrected, unsigned *uncorrected,
                                     unsigned *pending, unsigned *failed) {
    unsigned *const to[] = {corrected, uncorrected, pending, failed};
    struct section *s;
    uint64_t four[4];
    Return code = enter(F_nvmlDeviceGetRemappedRows, h, &s);
    if (code != OK) return code;
    if ((code = numbers(s, "remapped", 4, four)) != OK) return leave(code);
    for (int i = 0; i < 4; i++) *to[i] = (unsigned)four[i];
    return leave(OK);
}

/* remapper = BANKS_MAX HIGH PARTIAL LOW NONE */
API Return nvmlDeviceGetRowRemapperHistogram(struct handle *h, struct histogram *to) {
    struct section *s;
    uint64_t n[5];
    Return code = enter(F_nvmlDeviceGetRowRemapperHistogram, h, &s);
    if (code != OK) return code;
    if ((code = numbers(s, "remapper", 5, n)) != OK) return leave(code);
    *to = (struct histogram){(unsigned)n[0], (unsigned)n[1], (unsigned)n[2], (unsigned)n[3], (unsigned)n[4]};
    return leave(OK);
}

/* retired.CAUSE = COUNT ADDRESS ADDRESS ... */
static Return retired(enum function f, struct handle *h, unsigned cause, unsigned *count,
                      uint64_t *addresses, uint64_t *times) {
    enum { MOST = 64 };
    char key[32];
    struct section *s;
    uint64_t has[1 + MOST];
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    snprintf(key, sizeof key, "retired.%u", cause);
    if ((code = numbers(s, key, 1, has)) != OK) return leave(code);
    if (has[0] > MOST) return leave(UNKNOWN);
    if ((code = numbers(s, key, 1 + (unsigned)has[0], has)) != OK) return leave(code);
    unsigned room = *count;
    *count = (unsigned)has[0];
    if (room < *count) return leave(INSUFFICIENT_SIZE);
    for (unsigned i = 0; addresses && i < *count; i++) {
        addresses[i] = has[1 + i];
        if (times) times[i] = state_us() / 1000000;
    }
    return leave(OK);
}
API Return nvmlDeviceGetRetiredPages(struct handle *h, unsigned cause, unsigned *count, uint64_t *to) {
    return retired(F_nvmlDeviceGetRetiredPages, h, cause, count, to, NULL);
}
API Return nvmlDeviceGetRetiredPages_v2(struct handle *h, unsigned cause, unsigned *count, uint64_t *to,
                                        uint64_t *times) {
    return retired(F_nvmlDeviceGetRetiredPages_v2, h, cause, count, to, times);
}

/* --- MIG: a slice has gi, ci, memory.*, bar1.*, attributes and processes of its own --- */

API Return nvmlDeviceGetMaxMigDeviceCount(struct handle *h, unsigned *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetMaxMigDeviceCount, h, &s);
    if (code != OK) return code;
    if (unsigned_of(s, "mig.max", to) != OK) *to = s->slices;
    return leave(OK);
}

API Return nvmlDeviceGetMigDeviceHandleByIndex(struct handle *h, unsigned index, struct handle **to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetMigDeviceHandleByIndex, h, &s);
    if (code != OK) return code;
    if (s->device) return leave(INVALID_ARGUMENT);
    if (!text_of(s, "mig")) return leave(NOT_SUPPORTED);
    for (unsigned i = 1; mig_on(s) && i <= s->slices; i++) {
        unsigned place = s[i].order; /* index = N where a slice before it was destroyed */
        unsigned_of(&s[i], "index", &place);
        if (place == index) return leave(handle_of(&s[i], to));
    }
    return leave(NOT_FOUND);
}

API Return nvmlDeviceIsMigDeviceHandle(struct handle *h, unsigned *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceIsMigDeviceHandle, h, &s);
    if (code != OK) return code;
    *to = s->device != NULL;
    return leave(OK);
}

API Return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct handle *h, struct handle **to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetDeviceHandleFromMigDeviceHandle, h, &s);
    if (code != OK) return code;
    return leave(s->device ? handle_of(s->device, to) : INVALID_ARGUMENT);
}

ONE(nvmlDeviceGetGpuInstanceId, "gi")
ONE(nvmlDeviceGetComputeInstanceId, "ci")

/* attributes = SMS COPY DECODERS ENCODERS JPEG OFA GI_SLICES CI_SLICES MEGABYTES */
static Return attributes_of(enum function f, struct handle *h, struct attributes *to) {
    struct section *s;
    uint64_t n[9];
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if ((code = numbers(s, "attributes", 9, n)) != OK) return leave(code);
    *to = (struct attributes){(unsigned)n[0], (unsigned)n[1], (unsigned)n[2], (unsigned)n[3],
                              (unsigned)n[4], (unsigned)n[5], (unsigned)n[6], (unsigned)n[7], n[8]};
    return leave(OK);
}
API Return nvmlDeviceGetAttributes(struct handle *h, struct attributes *to) {
    return attributes_of(F_nvmlDeviceGetAttributes, h, to);
}
API Return nvmlDeviceGetAttributes_v2(struct handle *h, struct attributes *to) {
    return attributes_of(F_nvmlDeviceGetAttributes_v2, h, to);
}
