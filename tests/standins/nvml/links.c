/* PCI and NVLink: addresses, links, counters; and values by field number. */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- pci = DDDDDDDD:BB:DD.F, pci.device and pci.subsystem = the ids of vendor and card --- */

static Return pci_of(const struct section *s, const char *key, struct pci *to) {
    const char *bus = text_of(s, key);
    memset(to, 0, sizeof *to);
    if (bus == NULL) return NOT_SUPPORTED;
    if (code_named(bus, OK) != OK) return code_named(bus, OK);
    if (sscanf(bus, "%x:%x:%x", &to->domain, &to->number, &to->device) != 3) return UNKNOWN;
    snprintf(to->bus, sizeof to->bus, "%08X:%02X:%02X.0", to->domain, to->number, to->device);
    snprintf(to->legacy, sizeof to->legacy, "%04X:%02X:%02X.0", to->domain & 0xFFFF,
             to->number & 0xFF, to->device & 0xFF);
    return OK;
}

static Return pci_read(enum function f, struct handle *h, struct pci *to) {
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if ((code = pci_of(s, "pci", to)) == OK) {
        unsigned_of(s, "pci.device", &to->id);
        unsigned_of(s, "pci.subsystem", &to->subsystem);
    }
    return leave(code);
}

static Return pci_read_v2(enum function f, struct handle *h, struct pci_v2 *to) {
    struct pci all;
    Return code = pci_read(f, h, &all);
    if (code != OK) return code;
    *to = (struct pci_v2){.domain = all.domain, .number = all.number, .device = all.device,
                          .id = all.id, .subsystem = all.subsystem};
    memcpy(to->bus, all.legacy, sizeof to->bus);
    return OK;
}

API Return nvmlDeviceGetPciInfo(struct handle *h, struct pci_v2 *to) {
    return pci_read_v2(F_nvmlDeviceGetPciInfo, h, to);
}
API Return nvmlDeviceGetPciInfo_v2(struct handle *h, struct pci_v2 *to) {
    return pci_read_v2(F_nvmlDeviceGetPciInfo_v2, h, to);
}
API Return nvmlDeviceGetPciInfo_v3(struct handle *h, struct pci *to) {
    return pci_read(F_nvmlDeviceGetPciInfo_v3, h, to);
}
API Return nvmlDeviceGetPciInfoExt(struct handle *h, struct pci_ext *to) {
    struct pci all;
    if (to == NULL) return INVALID_ARGUMENT;
    if (to->version != VERSION(struct pci_ext, 1)) return ARGUMENT_VERSION_MISMATCH;
    Return code = pci_read(F_nvmlDeviceGetPciInfoExt, h, &all);
    if (code != OK) return code;
    to->domain = all.domain;
    to->number = all.number;
    to->device = all.device;
    to->id = all.id;
    to->subsystem = all.subsystem;
    to->base = 3; /* a display controller, */
    to->sub = 2;  /* of the 3D kind */
    memcpy(to->bus, all.bus, sizeof to->bus);
    return OK;
}

/* pcie.tx, pcie.rx = KB/s. The real call measures for 20 ms: `enter` lets it wait. */
API Return nvmlDeviceGetPcieThroughput(struct handle *h, unsigned counter, unsigned *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetPcieThroughput, h, &s);
    if (code != OK) return code;
    if (counter > 1 || to == NULL) return leave(INVALID_ARGUMENT);
    return leave(unsigned_of(s, counter ? "pcie.rx" : "pcie.tx", to));
}

/* --- nvlink.L = 1 or 0 (its state), .version, .remote (a PCI address), .type, .capability.C, .error.C --- */

enum { LINKS = 36 };

static Return link_read(enum function f, struct handle *h, unsigned link, const char *part,
                        int which, uint64_t *to) {
    char key[64];
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if (link >= LINKS || to == NULL) return leave(INVALID_ARGUMENT);
    if (which < 0) snprintf(key, sizeof key, "nvlink.%u%s", link, part);
    else snprintf(key, sizeof key, "nvlink.%u%s.%d", link, part, which);
    return leave(u64_of(s, key, to));
}
static Return link_number(enum function f, struct handle *h, unsigned link, const char *part,
                          int which, unsigned *to) {
    uint64_t value;
    Return code = link_read(f, h, link, part, which, &value);
    if (code == OK) *to = (unsigned)value;
    return code;
}

API Return nvmlDeviceGetNvLinkState(struct handle *h, unsigned link, unsigned *to) {
    return link_number(F_nvmlDeviceGetNvLinkState, h, link, "", -1, to);
}
API Return nvmlDeviceGetNvLinkVersion(struct handle *h, unsigned link, unsigned *to) {
    return link_number(F_nvmlDeviceGetNvLinkVersion, h, link, ".version", -1, to);
}
API Return nvmlDeviceGetNvLinkRemoteDeviceType(struct handle *h, unsigned link, unsigned *to) {
    return link_number(F_nvmlDeviceGetNvLinkRemoteDeviceType, h, link, ".type", -1, to);
}
API Return nvmlDeviceGetNvLinkCapability(struct handle *h, unsigned link, unsigned which, unsigned *to) {
    return link_number(F_nvmlDeviceGetNvLinkCapability, h, link, ".capability", (int)which, to);
}
API Return nvmlDeviceGetNvLinkErrorCounter(struct handle *h, unsigned link, unsigned which, uint64_t *to) {
    return link_read(F_nvmlDeviceGetNvLinkErrorCounter, h, link, ".error", (int)which, to);
}

static Return remote(enum function f, struct handle *h, unsigned link, struct pci *to) {
    char key[64];
    struct section *s;
    Return code = enter(f, h, &s);
    if (code != OK) return code;
    if (link >= LINKS || to == NULL) return leave(INVALID_ARGUMENT);
    snprintf(key, sizeof key, "nvlink.%u.remote", link);
    return leave(pci_of(s, key, to));
}
API Return nvmlDeviceGetNvLinkRemotePciInfo(struct handle *h, unsigned link, struct pci_v2 *to) {
    struct pci all;
    Return code = remote(F_nvmlDeviceGetNvLinkRemotePciInfo, h, link, &all);
    if (code != OK) return code;
    *to = (struct pci_v2){.domain = all.domain, .number = all.number, .device = all.device};
    memcpy(to->bus, all.legacy, sizeof to->bus);
    return OK;
}
API Return nvmlDeviceGetNvLinkRemotePciInfo_v2(struct handle *h, unsigned link, struct pci *to) {
    return remote(F_nvmlDeviceGetNvLinkRemotePciInfo_v2, h, link, to);
}

/* fabric = STATUS CLIQUE STATE HEALTH */
API Return nvmlDeviceGetGpuFabricInfoV(struct handle *h, struct fabric_v2 *to) {
    struct section *s;
    uint64_t n[4];
    Return code = enter(F_nvmlDeviceGetGpuFabricInfoV, h, &s);
    if (code != OK) return code;
    if (to->version != VERSION(struct fabric_v2, 2)) return leave(ARGUMENT_VERSION_MISMATCH);
    if ((code = numbers(s, "fabric", 4, n)) != OK) return leave(code);
    memset(to->cluster, 0, sizeof to->cluster);
    to->status = (Return)n[0];
    to->clique = (unsigned)n[1];
    to->state = (unsigned)n[2];
    to->health = (unsigned)n[3];
    return leave(OK);
}

/* --- field.ID = TYPE VALUE, field.ID:SCOPE = TYPE VALUE, or an error; TYPE is f64, u32, ul, u64,
 *     i64, i32 or u16. Without such a line a field is what the same thing is elsewhere: --- */

static const struct { unsigned id, type; const char *key; unsigned place, since; } elsewhere[] = {
    {1, U32, "ecc", 0, 0},
    {2, U32, "ecc.pending", 0, 0},
    {3, U64, "ecc.corrected.volatile", 0, 0},
    {4, U64, "ecc.uncorrected.volatile", 0, 0},
    {5, U64, "ecc.corrected.aggregate", 0, 0},
    {6, U64, "ecc.uncorrected.aggregate", 0, 0},
    {74, U64, "policy.0", 0, 0},
    {75, U64, "policy.1", 0, 0},
    {76, U64, "policy.2", 0, 0},
    {77, U64, "policy.3", 0, 0},
    {78, U64, "policy.4", 0, 0},
    {79, U64, "policy.5", 0, 0},
    {82, U32, "temperature.memory", 0, 0},
    {83, U64, "energy", 0, 0},
    {91, U32, "nvlinks", 0, 0},
    {142, U32, "remapped", 0, 0},
    {143, U32, "remapped", 1, 0},
    {144, U32, "remapped", 2, 0},
    {145, U32, "remapped", 3, 0},
    {185, U32, "power.average", 0, 535000},
    {186, U32, "power.instant", 0, 535000},
    {187, U32, "power.min", 0, 535000},
    {188, U32, "power.max", 0, 535000},
    {189, U32, "power.default", 0, 535000},
    {190, U32, "power.enforced", 0, 535000},
    {191, U64, "energy", 0, 535000},
    {192, U32, "power.limit", 0, 535000},
    {197, U64, "pcie.tx.bytes", 0, 555000},
    {198, U64, "pcie.rx.bytes", 0, 555000},
    {230, U32, "recovery", 0, 570000},
    {269, U64, "slowed.software.thermal", 0, 575000},
    {270, U64, "slowed.hardware.thermal", 0, 575000},
    {271, U64, "slowed.power.brake", 0, 575000},
};

static Return typed(const char *value, struct field *to) {
    static const char *const types[] = {"f64", "u32", "ul", "u64", "i64", "i32", "u16"};
    size_t size = strcspn(value, " ");
    if (value[size] == 0) return code_named(value, UNKNOWN);
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        if (strlen(types[i]) != size || strncmp(types[i], value, size) != 0) continue;
        to->type = i;
        value += size + strspn(value + size, " ");
        if (i != DOUBLE) return parse_u64(value, &to->value.u64); /* little-endian: the others too */
        to->value.d = strtod(value, NULL);
        return OK;
    }
    return UNKNOWN;
}

static Return field(const struct section *s, struct field *to) {
    char key[48];
    const char *value;
    uint64_t all[4];
    snprintf(key, sizeof key, "field.%u:%u", to->id, to->scope);
    if ((value = text_of(s, key))) return typed(value, to);
    snprintf(key, sizeof key, "field.%u", to->id);
    if ((value = text_of(s, key))) return typed(value, to);
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        if (elsewhere[i].id != to->id || elsewhere[i].since > DRIVER) continue;
        Return code = numbers(s, elsewhere[i].key, elsewhere[i].place + 1, all);
        to->type = elsewhere[i].type;
        to->value.u64 = code == OK ? all[elsewhere[i].place] : 0;
        return code;
    }
    return NOT_SUPPORTED;
}

API Return nvmlDeviceGetFieldValues(struct handle *h, int count, struct field *to) {
    struct section *s;
    Return code = enter(F_nvmlDeviceGetFieldValues, h, &s);
    if (code != OK) return code;
    if (to == NULL || count <= 0) return leave(INVALID_ARGUMENT);
    for (int i = 0; i < count; i++) {
        to[i].value.u64 = 0;
        to[i].at = (int64_t)sampled_us(s);
        to[i].latency = 0;
        to[i].type = U32;
        to[i].code = field(s, &to[i]);
    }
    return leave(OK);
}
