/*
 * Makes a disk fail on demand: preloaded, syncs and writes of regular files below $FAULT_OF answer EIO.
 *
 * The first bytes of the file $FAULT_CONTROL say what fails, byte 0 for syncs and byte 1 for writes:
 * 0 nothing, 1 the next call, 2 every call. Each failure adds one to byte 2.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONTROL_BYTES 4096
enum { SYNC = 0, WRITE = 1, COUNT = 2 };

static volatile unsigned char *control;

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("FAULT_CONTROL");
  int fd = path == NULL ? -1 : open(path, O_RDWR);
  if (fd < 0) return;
  void *map = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map != MAP_FAILED) control = map;
  close(fd);
}

static int is_ours(int fd) {
  char link[64], path[1024];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  const char *of = getenv("FAULT_OF");
  if (length < 0 || of == NULL) return 0;
  path[length] = 0;
  return strncmp(path, of, strlen(of)) == 0;
}

static int fails(int fd, int kind) {
  if (control == NULL || control[kind] == 0 || !is_ours(fd)) return 0;
  unsigned char once = 1;
  if (control[kind] == 1 &&
      !__atomic_compare_exchange_n(&control[kind], &once, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && once == 0)
    return 0;
  __atomic_add_fetch(&control[COUNT], 1, __ATOMIC_SEQ_CST);
  errno = EIO;
  return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int fsync(int fd) {
  REAL(fsync);
  return fails(fd, SYNC) ? -1 : real(fd);
}

int fdatasync(int fd) {
  REAL(fdatasync);
  return fails(fd, SYNC) ? -1 : real(fd);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write);
  return fails(fd, WRITE) ? -1 : real(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  return fails(fd, WRITE) ? -1 : real(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  REAL(pwrite);
  return fails(fd, WRITE) ? -1 : real(fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
  REAL(pwrite64);
  return fails(fd, WRITE) ? -1 : real(fd, bytes, length, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  REAL(pwritev);
  return fails(fd, WRITE) ? -1 : real(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  REAL(pwritev64);
  return fails(fd, WRITE) ? -1 : real(fd, parts, count, at);
}
