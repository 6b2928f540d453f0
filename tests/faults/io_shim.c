// A library for LD_PRELOAD that makes system calls on files of one folder fail, be cut short, or end the process. Tests only.
//
//   OCTAVO_SHIM_FOLDER   absolute path; only files below it count
//   OCTAVO_SHIM_FAULT    "OP N WHAT": the N-th (from 1) OP fails with errno WHAT (a number), transfers half ("short"), or
//                        gets the process SIGKILL, SIGTERM or SIGINT before it happens ("kill", "term", "int"); none: calls
//                        are only counted
//   OCTAVO_SHIM_COUNTS   a file that gets the counters of struct counts; they survive the process
//
// OP: open, read (pread), write (pwrite), sync (fsync, fdatasync), rename (link), truncate (fallocate), map.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum op { OP_OPEN, OP_READ, OP_WRITE, OP_SYNC, OP_RENAME, OP_TRUNCATE, OP_MAP, NUM_OPS };
static const char* const kNames[NUM_OPS] = {"open", "read", "write", "sync", "rename", "truncate", "map"};
enum { WHAT_SHORT = -1, MAX_FDS = 4096 };

struct counts {
  _Atomic uint64_t calls[NUM_OPS];
  _Atomic uint64_t source_bytes;  // read from files named *.safetensors
  _Atomic uint64_t faults;
};

static struct counts own_counts;
static struct counts* counts = &own_counts;
static char folder[4096];
static enum op fault_op = NUM_OPS;
static uint64_t fault_call;
static int fault_what;  // errno, WHAT_SHORT, or 0 and
static int fault_signal;
static _Atomic unsigned char tracked[MAX_FDS];  // 1: in the folder, 2: and a source

#define REAL(name) \
  static __typeof__(name)* real; \
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void Start(void) {
  const char* where = getenv("OCTAVO_SHIM_FOLDER");
  if (where != NULL) snprintf(folder, sizeof(folder), "%s", where);
  const char* path = getenv("OCTAVO_SHIM_COUNTS");
  if (path != NULL) {
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct counts)) != 0) abort();
    void* map = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) abort();
    close(fd);
    counts = map;
  }
  const char* fault = getenv("OCTAVO_SHIM_FAULT");
  char name[16], what[16];
  unsigned long long call;
  if (fault == NULL || sscanf(fault, "%15s %llu %15s", name, &call, what) != 3) return;
  for (int i = 0; i < NUM_OPS; ++i) {
    if (strcmp(name, kNames[i]) == 0) fault_op = i;
  }
  fault_call = call;
  fault_what = strcmp(what, "short") == 0 ? WHAT_SHORT : atoi(what);
  fault_signal = strcmp(what, "kill") == 0   ? SIGKILL
                 : strcmp(what, "term") == 0 ? SIGTERM
                 : strcmp(what, "int") == 0  ? SIGINT
                                             : 0;
}

static int IsInFolder(const char* path) {
  char absolute[8192];
  if (folder[0] == '\0') return 0;
  if (path[0] != '/') {
    char here[4096];
    if (getcwd(here, sizeof(here)) == NULL) return 0;
    snprintf(absolute, sizeof(absolute), "%s/%s", here, path);
    path = absolute;
  }
  return strncmp(path, folder, strlen(folder)) == 0;
}

static int IsTracked(int fd) { return fd >= 0 && fd < MAX_FDS && tracked[fd] != 0; }

static void Track(int fd, const char* path) {
  if (fd < 0 || fd >= MAX_FDS) return;
  const char* end = strstr(path, ".safetensors");
  tracked[fd] = end != NULL && strcmp(end, ".safetensors") == 0 ? 2 : 1;
}

// Counts the call. 0: it goes on; 1: it transfers half; -1: it fails, errno is set.
static int Fault(enum op op) {
  const uint64_t call = atomic_fetch_add(&counts->calls[op], 1) + 1;
  if (op != fault_op || call != fault_call) return 0;
  atomic_fetch_add(&counts->faults, 1);
  if (fault_signal != 0) return kill(getpid(), fault_signal), 0;
  if (fault_what == WHAT_SHORT) return 1;
  errno = fault_what;
  return -1;
}

static int Open(int dir, const char* path, int flags, mode_t mode) {
  REAL(openat);
  const int is_ours = dir == AT_FDCWD && IsInFolder(path);
  if (is_ours && Fault(OP_OPEN) < 0) return -1;
  const int fd = real(dir, path, flags, mode);
  if (is_ours) Track(fd, path);
  return fd;
}

#define MODE(flags)                              \
  mode_t mode = 0;                               \
  if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {  \
    va_list arguments;                           \
    va_start(arguments, flags);                  \
    mode = va_arg(arguments, mode_t);            \
    va_end(arguments);                           \
  }

int open(const char* path, int flags, ...) {
  MODE(flags)
  return Open(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE(flags)
  return Open(AT_FDCWD, path, flags, mode);
}

int close(int fd) {
  REAL(close);
  if (fd >= 0 && fd < MAX_FDS) tracked[fd] = 0;
  return real(fd);
}

static ssize_t Counted(int fd, ssize_t got) {
  if (got > 0 && tracked[fd] == 2) atomic_fetch_add(&counts->source_bytes, (uint64_t)got);
  return got;
}

// A transfer of one byte cannot be cut short.
#define TRANSFER(op, count)                      \
  if (IsTracked(fd)) {                           \
    const int fault = Fault(op);                 \
    if (fault < 0) return -1;                    \
    if (fault > 0 && (count) > 1) (count) /= 2;  \
  }

ssize_t read(int fd, void* out, size_t count) {
  REAL(read);
  TRANSFER(OP_READ, count)
  const ssize_t got = real(fd, out, count);
  return IsTracked(fd) ? Counted(fd, got) : got;
}
ssize_t pread(int fd, void* out, size_t count, off_t offset) {
  REAL(pread);
  TRANSFER(OP_READ, count)
  const ssize_t got = real(fd, out, count, offset);
  return IsTracked(fd) ? Counted(fd, got) : got;
}
ssize_t pread64(int fd, void* out, size_t count, off_t offset) { return pread(fd, out, count, offset); }
ssize_t write(int fd, const void* data, size_t count) {
  REAL(write);
  TRANSFER(OP_WRITE, count)
  return real(fd, data, count);
}
ssize_t pwrite(int fd, const void* data, size_t count, off_t offset) {
  REAL(pwrite);
  TRANSFER(OP_WRITE, count)
  return real(fd, data, count, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t count, off_t offset) { return pwrite(fd, data, count, offset); }

int fsync(int fd) {
  REAL(fsync);
  return IsTracked(fd) && Fault(OP_SYNC) < 0 ? -1 : real(fd);
}
int fdatasync(int fd) {
  REAL(fdatasync);
  return IsTracked(fd) && Fault(OP_SYNC) < 0 ? -1 : real(fd);
}

int rename(const char* from, const char* to) {
  REAL(rename);
  return IsInFolder(to) && Fault(OP_RENAME) < 0 ? -1 : real(from, to);
}
int link(const char* from, const char* to) {
  REAL(link);
  return IsInFolder(to) && Fault(OP_RENAME) < 0 ? -1 : real(from, to);
}

int ftruncate(int fd, off_t size) {
  REAL(ftruncate);
  return IsTracked(fd) && Fault(OP_TRUNCATE) < 0 ? -1 : real(fd, size);
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
int fallocate(int fd, int mode, off_t offset, off_t size) {
  REAL(fallocate);
  return IsTracked(fd) && Fault(OP_TRUNCATE) < 0 ? -1 : real(fd, mode, offset, size);
}
int fallocate64(int fd, int mode, off_t offset, off_t size) { return fallocate(fd, mode, offset, size); }

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  REAL(mmap);
  if (IsTracked(fd) && Fault(OP_MAP) < 0) return MAP_FAILED;
  return real(address, size, protection, flags, fd, offset);
}
void* mmap64(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  return mmap(address, size, protection, flags, fd, offset);
}
