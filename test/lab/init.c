// PID 1 of the lab. Its root is the host's own file tree over 9p. It mounts what a Linux system has, then serves
// commands: each of SLOTS virtio-serial ports carries one command at a time, in frames (test/lab/frames.ts).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 8, HEADER = 5, CHUNK = 1 << 16, MAX_FRAME = 1 << 20, MAX_WORDS = 4096 };

static void die(const char *what) {
  perror(what);
  _exit(1);
}

static void make_directories(const char *path) {
  char partial[4096];
  snprintf(partial, sizeof partial, "%s", path);
  for (char *slash = partial + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
    *slash = '\0';
    mkdir(partial, 0755);
  }
  mkdir(partial, 0755);
}

static void mount_at(const char *type, const char *path, const char *options) {
  make_directories(path);
  if (mount(type, path, type, 0, options) < 0) perror(path);
}

// A tmpfs on /tmp keeps sockets and locks off 9p; a project that lies below /tmp has to stay in sight.
static void mount_tmp(const char *project) {
  int keep = project != NULL && strncmp(project, "/tmp/", 5) == 0 ? open(project, O_PATH | O_DIRECTORY) : -1;
  mount_at("tmpfs", "/tmp", "mode=1777,size=75%");
  if (keep < 0) return;
  char source[64];
  snprintf(source, sizeof source, "/proc/self/fd/%d", keep);
  make_directories(project);
  if (mount(source, project, NULL, MS_BIND, NULL) < 0) perror(project);
  close(keep);
}

static void set_up(void) {
  mount_at("proc", "/proc", NULL);
  mount_at("sysfs", "/sys", NULL);
  mount_at("devtmpfs", "/dev", "mode=0755");
  mount_at("devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666");
  mount_at("tmpfs", "/dev/shm", "mode=1777");
  mount_at("tmpfs", "/run", "mode=0755");
  mount_tmp(getenv("LAB_PROJECT"));
  mount_at("cgroup2", "/sys/fs/cgroup", NULL);
  mount_at("debugfs", "/sys/kernel/debug", NULL);
  mkdir("/run/user", 0755);
  mkdir("/run/user/0", 0700);
  if (symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST) perror("/dev/fd");
  if (sethostname("lab", 3) < 0) perror("sethostname");
  struct rlimit files = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &files);
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (inet < 0 || ioctl(inet, SIOCSIFFLAGS, &loopback) < 0) perror("lo");
  close(inet);
}

static int write_all(int fd, const void *data, size_t length) {
  for (const char *at = data; length > 0;) {
    ssize_t written = write(fd, at, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return -1;
    at += written;
    length -= (size_t)written;
  }
  return 0;
}

static int send_frame(int port, char type, const void *data, uint32_t length) {
  char header[HEADER] = {type};
  memcpy(header + 1, &length, 4);
  return write_all(port, header, HEADER) < 0 ? -1 : write_all(port, data, length);
}

struct input {
  size_t length;
  char bytes[HEADER + MAX_FRAME];
};

// Reads what there is; -1 when the host is gone.
static int fill(int port, struct input *input) {
  ssize_t got = read(port, input->bytes + input->length, sizeof input->bytes - input->length);
  if (got < 0) return errno == EINTR || errno == EAGAIN ? 0 : -1;
  if (got == 0) return -1;
  input->length += (size_t)got;
  return 0;
}

// The first whole frame's type and length; 0 when there is none yet, -1 when it can't be one.
static int peek(const struct input *input, uint32_t *length) {
  if (input->length < HEADER) return 0;
  memcpy(length, input->bytes + 1, 4);
  if (*length > MAX_FRAME) return -1;
  return input->length < HEADER + *length ? 0 : input->bytes[0];
}

static void consume(struct input *input, uint32_t length) {
  input->length -= HEADER + length;
  memmove(input->bytes, input->bytes + HEADER + length, input->length);
}

struct command {
  pid_t pid;
  int pidfd, in, out, err;
};

// The start frame: words that end in NUL: working directory, number of arguments, arguments, environment.
static int start(char *frame, uint32_t length, struct command *command) {
  char *words[MAX_WORDS + 1];
  size_t count = 0;
  if (length == 0 || frame[length - 1] != '\0') return -1;
  for (char *at = frame; at < frame + length && count < MAX_WORDS; at += strlen(at) + 1) words[count++] = at;
  if (count < 3) return -1;
  size_t arguments = strtoul(words[1], NULL, 10);
  if (arguments < 1 || arguments > count - 2) return -1;
  words[count] = NULL;
  char *argv[MAX_WORDS + 1];
  memcpy(argv, words + 2, arguments * sizeof *argv);
  argv[arguments] = NULL;
  char **environment = words + 2 + arguments;
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) die("pipe");
  command->pid = fork();
  if (command->pid < 0) die("fork");
  if (command->pid == 0) {
    setsid();
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (chdir(words[0]) == 0) {
      environ = environment;
      execvp(argv[0], argv);
    }
    fprintf(stderr, "lab: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
  }
  command->pidfd = (int)syscall(SYS_pidfd_open, command->pid, 0);
  close(in[0]);
  close(out[1]);
  close(err[1]);
  command->in = in[1];
  command->out = out[0];
  command->err = err[0];
  fcntl(command->in, F_SETFL, O_NONBLOCK);
  fcntl(command->out, F_SETFL, O_NONBLOCK);
  fcntl(command->err, F_SETFL, O_NONBLOCK);
  return 0;
}

static void shut(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

// Passes on one chunk of output; closes the pipe at its end. -1 when the host is gone.
static int relay(int port, char type, int *pipe) {
  static char chunk[CHUNK];
  if (*pipe < 0) return 0;
  ssize_t got = read(*pipe, chunk, sizeof chunk);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (got <= 0) {
    shut(pipe);
    return 0;
  }
  return send_frame(port, type, chunk, (uint32_t)got) < 0 ? -1 : 1;
}

// Serves what the host sent until a frame has to wait for the command to read; -1 when the host is gone or errs.
static int serve_input(struct input *input, struct command *command, size_t *written, int *waiting) {
  uint32_t length;
  int type;
  *waiting = 0;
  while ((type = peek(input, &length)) > 0) {
    char *payload = input->bytes + HEADER;
    if (type == 'I' && command->in >= 0 && *written < length) {
      ssize_t done = write(command->in, payload + *written, length - *written);
      if (done < 0 && errno == EAGAIN) {
        *waiting = 1;
        return 0;
      }
      if (done < 0) shut(&command->in);
      else *written += (size_t)done;
      continue;
    }
    if (type == 'E') shut(&command->in);
    if (type == 'K' && length == 4) {
      int32_t signal_number;
      memcpy(&signal_number, payload, 4);
      kill(command->pid, signal_number);
    }
    *written = 0;
    consume(input, length);
  }
  return type;
}

// Runs one command to its end. Returns when it is over and the host has been told, or when the host is gone.
static void serve_command(int port, struct input *input, struct command *command) {
  size_t written = 0;
  int waiting = 0, status = 0;
  for (;;) {
    if (serve_input(input, command, &written, &waiting) < 0) break;
    struct pollfd polled[] = {
        {.fd = port, .events = waiting || input->length == sizeof input->bytes ? 0 : POLLIN},
        {.fd = waiting ? command->in : -1, .events = POLLOUT},
        {.fd = command->out, .events = POLLIN},
        {.fd = command->err, .events = POLLIN},
        {.fd = command->pidfd, .events = POLLIN},
    };
    if (poll(polled, 5, -1) < 0) continue;
    if ((polled[0].revents & POLLIN) && fill(port, input) < 0) break;
    if ((polled[0].revents & POLLHUP) && !(polled[0].revents & POLLIN)) break;
    if (polled[2].revents && relay(port, 'O', &command->out) < 0) break;
    if (polled[3].revents && relay(port, 'R', &command->err) < 0) break;
    if (polled[4].revents && waitpid(command->pid, &status, WNOHANG) == command->pid) {
      // What was written before the end is passed on; a pipe that something left behind still holds is not waited for.
      while (relay(port, 'O', &command->out) > 0) continue;
      while (relay(port, 'R', &command->err) > 0) continue;
      uint32_t encoded = (uint32_t)status;
      send_frame(port, 'X', &encoded, 4);
      return;
    }
  }
  kill(-command->pid, SIGKILL);
  waitpid(command->pid, &status, 0);
}

static void serve_slot(int slot) {
  char path[32];
  snprintf(path, sizeof path, "/dev/vport0p%d", slot + 1);
  int port = -1;
  // The kernel makes the port's node when the device's control queue has told of it.
  for (int tries = 0; tries < 500 && port < 0; tries++) {
    port = open(path, O_RDWR | O_CLOEXEC);
    if (port < 0) usleep(20000);
  }
  if (port < 0) die(path);
  static struct input input;
  for (;;) {
    input.length = 0;
    struct command command = {.in = -1, .out = -1, .err = -1, .pidfd = -1};
    uint32_t length = 0;
    int type = 0, gone = 0;
    while (!gone && type == 0) {
      struct pollfd polled = {.fd = port, .events = POLLIN};
      poll(&polled, 1, -1);
      if (polled.revents & POLLIN) gone = fill(port, &input) < 0;
      else usleep(20000);
      type = peek(&input, &length);
    }
    if (!gone && type == 'S' && start(input.bytes + HEADER, length, &command) == 0) {
      consume(&input, length);
      serve_command(port, &input, &command);
    }
    shut(&command.in);
    shut(&command.out);
    shut(&command.err);
    shut(&command.pidfd);
    // The next command comes over the next connection.
    for (struct pollfd polled = {.fd = port, .events = POLLIN};;) {
      poll(&polled, 1, -1);
      if (polled.revents & POLLIN) {
        static char rest[CHUNK];
        if (read(port, rest, sizeof rest) == 0) break;
      } else if (polled.revents & POLLHUP) {
        break;
      }
    }
  }
}

int main(void) {
  set_up();
  signal(SIGPIPE, SIG_IGN);
  for (int slot = 0; slot < SLOTS; slot++) {
    if (fork() == 0) serve_slot(slot);
  }
  puts("lab: ready");
  fflush(stdout);
  for (;;) wait(NULL);
}
