/*
 * Keeps a second directory that holds only what a program has synced: what would be left after a power cut.
 *
 * Preloaded into the program. Writes below $IMAGE_OF are noted by range; at fsync and fdatasync the noted ranges of the
 * file are copied to the same place below $IMAGE_TO. Names (create, rename, unlink, mkdir) are taken over at once, as a
 * journalling file system keeps them in order. Every file is synced once more than a real disk would, never less.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
#define RANGES_MAX 4096

typedef struct {
  char path[512];
  off_t from[RANGES_MAX];
  off_t to[RANGES_MAX];
  int ranges;
} file_t;

static file_t *files[FDS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *of(void) { return getenv("IMAGE_OF"); }
static const char *to(void) { return getenv("IMAGE_TO"); }

/* The place in the image of a path below IMAGE_OF; 0 where it is elsewhere. */
static int image_path(const char *path, char *out, size_t size) {
  if (of() == NULL || to() == NULL || path == NULL) return 0;
  size_t length = strlen(of());
  if (strncmp(path, of(), length) != 0 || path[length] != '/') return 0;
  snprintf(out, size, "%s%s", to(), path + length);
  return 1;
}

static void note_open(int fd, const char *path, int flags) {
  char image[512];
  if (fd < 0 || fd >= FDS_MAX || !image_path(path, image, sizeof image)) return;
  pthread_mutex_lock(&lock);
  if (files[fd] == NULL) files[fd] = calloc(1, sizeof(file_t));
  snprintf(files[fd]->path, sizeof files[fd]->path, "%s", path);
  files[fd]->ranges = 0;
  pthread_mutex_unlock(&lock);
  if ((flags & O_ACCMODE) == O_RDONLY) return;
  int copy = open64(image, O_CREAT | O_WRONLY | ((flags & O_TRUNC) ? O_TRUNC : 0), 0600);
  if (copy >= 0) {
    int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
    real_close(copy);
  }
}

static void note_write(int fd, off_t at, ssize_t length) {
  if (fd < 0 || fd >= FDS_MAX || length <= 0) return;
  pthread_mutex_lock(&lock);
  file_t *file = files[fd];
  if (file != NULL) {
    int last = file->ranges - 1;
    if (last >= 0 && file->to[last] == at) file->to[last] = at + length;
    else if (file->ranges < RANGES_MAX) {
      file->from[file->ranges] = at;
      file->to[file->ranges++] = at + length;
    } else {
      for (int i = 0; i < file->ranges; i++) {
        if (file->from[i] < file->from[0]) file->from[0] = file->from[i];
        if (file->to[i] > file->to[0]) file->to[0] = file->to[i];
      }
      if (at < file->from[0]) file->from[0] = at;
      if (at + length > file->to[0]) file->to[0] = at + length;
      file->ranges = 1;
    }
  }
  pthread_mutex_unlock(&lock);
}

/* Copies what was written since the last sync, after the sync that makes it durable. */
static void keep(int fd) {
  if (fd < 0 || fd >= FDS_MAX || files[fd] == NULL) return;
  char image[512];
  int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
  int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
  ssize_t (*real_pwrite)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
  pthread_mutex_lock(&lock);
  file_t *file = files[fd];
  int copy = image_path(file->path, image, sizeof image) ? real_open(image, O_CREAT | O_WRONLY, 0600) : -1;
  int source = copy < 0 ? -1 : real_open(file->path, O_RDONLY);
  if (source >= 0) {
    static char buffer[1 << 20];
    for (int i = 0; i < file->ranges; i++) {
      for (off_t at = file->from[i]; at < file->to[i];) {
        size_t want = (size_t)(file->to[i] - at) < sizeof buffer ? (size_t)(file->to[i] - at) : sizeof buffer;
        ssize_t got = pread64(source, buffer, want, at);
        if (got <= 0) break;
        real_pwrite(copy, buffer, (size_t)got, at);
        at += got;
      }
    }
    struct stat64 now;
    if (fstat64(source, &now) == 0) ftruncate64(copy, now.st_size);
    real_close(source);
  }
  if (copy >= 0) real_close(copy);
  file->ranges = 0;
  pthread_mutex_unlock(&lock);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int open_mode(int flags, va_list arguments) { return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, int) : 0; }

int open64(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  int mode = open_mode(flags, arguments);
  va_end(arguments);
  REAL(open64);
  int fd = real(path, flags, mode);
  note_open(fd, path, flags);
  return fd;
}

int open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  int mode = open_mode(flags, arguments);
  va_end(arguments);
  return open64(path, flags, mode);
}

int close(int fd) {
  REAL(close);
  pthread_mutex_lock(&lock);
  if (fd >= 0 && fd < FDS_MAX && files[fd] != NULL) {
    free(files[fd]);
    files[fd] = NULL;
  }
  pthread_mutex_unlock(&lock);
  return real(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) {
  REAL(pwrite64);
  ssize_t written = real(fd, bytes, length, at);
  note_write(fd, at, written);
  return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
  REAL(pwritev64);
  ssize_t written = real(fd, parts, count, at);
  note_write(fd, at, written);
  return written;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

/* Where a plain write went: before it the file's offset, or its end where it is opened to append. */
static off_t place_of(int fd) {
  if (fd < 0 || fd >= FDS_MAX || files[fd] == NULL) return 0;
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_APPEND) ? lseek64(fd, 0, SEEK_END) : lseek64(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write);
  off_t at = place_of(fd);
  ssize_t written = real(fd, bytes, length);
  note_write(fd, at, written);
  return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  off_t at = place_of(fd);
  ssize_t written = real(fd, parts, count);
  note_write(fd, at, written);
  return written;
}

int fsync(int fd) {
  REAL(fsync);
  int result = real(fd);
  if (result == 0) keep(fd);
  return result;
}

int fdatasync(int fd) {
  REAL(fdatasync);
  int result = real(fd);
  if (result == 0) keep(fd);
  return result;
}

int rename(const char *from, const char *target) {
  REAL(rename);
  int result = real(from, target);
  char a[512], b[512];
  if (result == 0 && image_path(from, a, sizeof a) && image_path(target, b, sizeof b)) {
    real(a, b);
    pthread_mutex_lock(&lock);
    for (int fd = 0; fd < FDS_MAX; fd++) {
      if (files[fd] != NULL && strcmp(files[fd]->path, from) == 0)
        snprintf(files[fd]->path, sizeof files[fd]->path, "%s", target);
    }
    pthread_mutex_unlock(&lock);
  }
  return result;
}

int unlink(const char *path) {
  REAL(unlink);
  char image[512];
  int result = real(path);
  if (result == 0 && image_path(path, image, sizeof image)) real(image);
  return result;
}

int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  char image[512];
  int result = real(path, mode);
  if (image_path(path, image, sizeof image)) real(image, 0700);
  return result;
}
