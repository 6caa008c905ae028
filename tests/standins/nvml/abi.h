/* What crosses the boundary between NVML and its clients: layouts and codes of NVIDIA's nvml.h.
 * Each size is checked where it is written; the tests hold the same to those of nvidia-ml-py. */
#ifndef STANDIN_ABI_H
#define STANDIN_ABI_H

#include <stdint.h>

typedef unsigned int Return;

/* nvmlReturn_t: number, name in a state file, what nvmlErrorString says. */
#define RETURNS(R)                                                            \
    R(0, OK, "Success")                                                       \
    R(1, UNINITIALIZED, "Uninitialized")                                      \
    R(2, INVALID_ARGUMENT, "Invalid Argument")                                \
    R(3, NOT_SUPPORTED, "Not Supported")                                      \
    R(4, NO_PERMISSION, "Insufficient Permissions")                           \
    R(5, ALREADY_INITIALIZED, "Already Initialized")                          \
    R(6, NOT_FOUND, "Not Found")                                              \
    R(7, INSUFFICIENT_SIZE, "Insufficient Size")                              \
    R(8, INSUFFICIENT_POWER, "Insufficient External Power")                   \
    R(9, DRIVER_NOT_LOADED, "Driver Not Loaded")                              \
    R(10, TIMEOUT, "Timeout")                                                 \
    R(11, IRQ_ISSUE, "Interrupt Request Issue")                               \
    R(12, LIBRARY_NOT_FOUND, "NVML Shared Library Not Found")                 \
    R(13, FUNCTION_NOT_FOUND, "Function Not Found")                           \
    R(14, CORRUPTED_INFOROM, "Corrupted infoROM")                             \
    R(15, GPU_IS_LOST, "GPU is lost")                                         \
    R(16, RESET_REQUIRED, "GPU requires reset")                               \
    R(17, OPERATING_SYSTEM, "GPU access blocked by the operating system")     \
    R(18, LIB_RM_VERSION_MISMATCH, "Driver/library version mismatch")         \
    R(19, IN_USE, "In use by another client")                                 \
    R(20, MEMORY, "Insufficient Memory")                                      \
    R(21, NO_DATA, "No data")                                                 \
    R(22, VGPU_ECC_NOT_SUPPORTED, "vGPU ECC not supported")                   \
    R(23, INSUFFICIENT_RESOURCES, "Insufficient resources")                   \
    R(24, FREQ_NOT_SUPPORTED, "Frequency not supported")                      \
    R(25, ARGUMENT_VERSION_MISMATCH, "Argument version mismatch")             \
    R(26, DEPRECATED, "Deprecated")                                           \
    R(27, NOT_READY, "Not ready")                                             \
    R(28, GPU_NOT_FOUND, "No GPUs found")                                     \
    R(29, INVALID_STATE, "Invalid state")                                     \
    R(30, RESET_TYPE_NOT_SUPPORTED, "Reset type not supported")               \
    R(999, UNKNOWN, "Unknown Error")

enum {
#define CODE(number, name, words) name = number,
    RETURNS(CODE)
#undef CODE
};

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size in nvml.h")
/* A versioned structure begins with this number; another one is refused. */
#define VERSION(type, number) ((unsigned)sizeof(type) | (number) << 24)

enum { NONE = 0xFFFFFFFF }; /* no GPU instance; all links */
#define NOT_AVAILABLE UINT64_MAX /* of memory that the driver cannot attribute */

struct pci_v2 { char bus[16]; unsigned domain, number, device, id, subsystem, reserved[4]; };
struct pci { char legacy[16]; unsigned domain, number, device, id, subsystem; char bus[32]; };
struct pci_ext { unsigned version, domain, number, device, id, subsystem, base, sub; char bus[32]; };
SIZE(struct pci_v2, 52);
SIZE(struct pci, 68);
SIZE(struct pci_ext, 64);

struct memory { uint64_t total, free, used; };
struct memory_v2 { unsigned version; uint64_t total, reserved, free, used; };
struct bar1 { uint64_t total, free, used; };
SIZE(struct memory, 24);
SIZE(struct memory_v2, 40);
SIZE(struct bar1, 24);

struct utilization { unsigned gpu, memory; };
struct process_v1 { unsigned pid; uint64_t memory; };
struct process { unsigned pid; uint64_t memory; unsigned gi, ci; };
/* What _v3 of the first 535 drivers wrote, and what the versioned list has. */
struct process_detail { unsigned pid; uint64_t memory; unsigned gi, ci; uint64_t protected; };
struct process_list { unsigned version, mode, count; struct process_detail *array; };
SIZE(struct process_v1, 16);
SIZE(struct process, 24);
SIZE(struct process_detail, 32);
SIZE(struct process_list, 24);

struct process_sample { unsigned pid; uint64_t at; unsigned sm, memory, encoder, decoder; };
struct process_info { uint64_t at; unsigned pid, sm, memory, encoder, decoder, jpeg, ofa; };
struct process_infos { unsigned version, count; uint64_t last; struct process_info *array; };
SIZE(struct process_sample, 32);
SIZE(struct process_info, 40);
SIZE(struct process_infos, 24);

union value { double d; unsigned u32; unsigned long ul; uint64_t u64; int64_t i64; int i32; uint16_t u16; };
enum { DOUBLE, U32, ULONG, U64, I64, I32, U16 }; /* nvmlValueType_t */
struct sample { uint64_t at; union value value; };
struct field { unsigned id, scope; int64_t at, latency; unsigned type; Return code; union value value; };
SIZE(struct sample, 16);
SIZE(struct field, 40);

struct ecc_counts { uint64_t l1, l2, memory, registers; };
struct violation { uint64_t at, spent; };
struct attributes { unsigned sms, copy, decoders, encoders, jpeg, ofa, gi_slices, ci_slices; uint64_t megabytes; };
struct histogram { unsigned max, high, partial, low, none; };
struct temperature { unsigned version, sensor; int value; };
struct versioned { unsigned version; unsigned value; }; /* margin, addressing mode, GPM support */
struct repair { unsigned version, channel, tpc; };
struct fan { unsigned version, fan, rpm; };
struct uuid { unsigned version, type; union { char text[41]; unsigned char bytes[16]; } value; };
struct branch { unsigned version; char name[80]; };
struct protected_memory { uint64_t kept, open; };
struct fabric_v2 { unsigned version; unsigned char cluster[16]; Return status; unsigned clique, state, health; };
SIZE(struct ecc_counts, 32);
SIZE(struct violation, 16);
SIZE(struct attributes, 40);
SIZE(struct histogram, 20);
SIZE(struct temperature, 12);
SIZE(struct versioned, 8);
SIZE(struct repair, 12);
SIZE(struct fan, 12);
SIZE(struct uuid, 52);
SIZE(struct branch, 84);
SIZE(struct fabric_v2, 36);

struct handle;
struct event_v1 { struct handle *device; uint64_t type, data; };
struct event { struct handle *device; uint64_t type, data; unsigned gi, ci; };
SIZE(struct event_v1, 24);
SIZE(struct event, 32);

struct gpm_sample;
struct gpm_metric { unsigned id; Return code; double value; const char *short_name, *long_name, *unit; };
/* Its array is as long as the client's header says: only `count` of it may be touched. */
struct gpm_get { unsigned version, count; struct gpm_sample *first, *second; struct gpm_metric metrics[]; };
SIZE(struct gpm_metric, 40);
SIZE(struct gpm_get, 24);

#endif
