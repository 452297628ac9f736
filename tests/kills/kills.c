/* Preloaded into a program, kills it at a chosen one of the system calls by which it changes files.
 *
 * kills_arm(folders, at): count the calls that change something in one of the folders, which have colons between
 * them, and die in number `at` (the first is 1): before it, or of a write after its first half.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char watched[4096];
static long calls = 0, dies_at = 0;

void kills_arm(const char *folders, long at) {
    snprintf(watched, sizeof watched, "%s", folders);
    calls = 0;
    dies_at = at;
}

long kills_count(void) { return calls; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_watched(int folder, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    ssize_t length = 0;
    if (!watched[0] || !path) return 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(whole, PATH_MAX)) return 0;
            length = strlen(whole);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            length = readlink(link, whole, PATH_MAX);
            if (length < 0) return 0;
        }
        whole[length++] = '/';
    }
    snprintf(whole + length, sizeof whole - length, "%s", path);
    char list[sizeof watched], *rest = list, *one;
    strcpy(list, watched);
    while ((one = strsep(&rest, ":")))
        if (one[0] && !strncmp(whole, one, strlen(one))) return 1;
    return 0;
}

static int is_watched_file(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = watched[0] ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return is_watched(AT_FDCWD, path);
}

static int dies(void) { return __sync_add_and_fetch(&calls, 1) == dies_at; }

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void changes(int folder, const char *path) {
    if (is_watched(folder, path) && dies()) die();
}

#define OPENED(folder, path, flags)                                                  \
    mode_t mode = 0;                                                                 \
    if (flags & (O_CREAT | O_TMPFILE)) {                                             \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode = va_arg(rest, mode_t);                                                 \
        va_end(rest);                                                                \
    }                                                                                \
    if (flags & (O_CREAT | O_TRUNC)) changes(folder, path);

int open(const char *path, int flags, ...) {
    OPENED(AT_FDCWD, path, flags)
    return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    OPENED(AT_FDCWD, path, flags)
    return REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    OPENED(folder, path, flags)
    return REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    OPENED(folder, path, flags)
    return REAL(openat64)(folder, path, flags, mode);
}

ssize_t write(int file, const void *data, size_t size) {
    if (is_watched_file(file) && dies()) {
        REAL(write)(file, data, size / 2);
        die();
    }
    return REAL(write)(file, data, size);
}

#define ON_PATH(name, kinds, folder, path, values) \
    int name kinds {                               \
        changes(folder, path);                     \
        return REAL(name) values;                  \
    }
#define ON_FILE(name, kinds, file, values)           \
    name kinds {                                     \
        if (is_watched_file(file) && dies()) die();  \
        return REAL(name) values;                    \
    }

ON_PATH(rename, (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(renameat, (int a, const char *from, int b, const char *to), b, to, (a, from, b, to))
ON_PATH(renameat2, (int a, const char *from, int b, const char *to, unsigned how), b, to, (a, from, b, to, how))
ON_PATH(link, (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(linkat, (int a, const char *from, int b, const char *to, int how), b, to, (a, from, b, to, how))
ON_PATH(symlink, (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(unlink, (const char *path), AT_FDCWD, path, (path))
ON_PATH(unlinkat, (int folder, const char *path, int how), folder, path, (folder, path, how))
ON_PATH(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(mkdirat, (int folder, const char *path, mode_t mode), folder, path, (folder, path, mode))
ON_PATH(rmdir, (const char *path), AT_FDCWD, path, (path))
ON_PATH(chmod, (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(fchmodat, (int folder, const char *path, mode_t mode, int how), folder, path, (folder, path, mode, how))
int ON_FILE(fchmod, (int file, mode_t mode), file, (file, mode))
int ON_FILE(ftruncate, (int file, off_t size), file, (file, size))
int ON_FILE(ftruncate64, (int file, off64_t size), file, (file, size))
ssize_t ON_FILE(pwrite, (int file, const void *data, size_t size, off_t at), file, (file, data, size, at))
ssize_t ON_FILE(pwrite64, (int file, const void *data, size_t size, off64_t at), file, (file, data, size, at))
