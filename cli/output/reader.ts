// What happens when the reader of this command's output goes away, as in `tsvm ps | head -n 1`.
// Node.js ignores SIGPIPE, so a write fails with EPIPE instead.
import { fstatSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import { libcFunction } from '../../libc/index.js';
import { FAILED } from './errors.js';

/** The exit code of a process that SIGPIPE ends, as the shell reports it. */
const UNREAD = 128 + 13;
/** Milliseconds between two looks at a pipe. */
const INTERVAL = 250;
/** poll(2). The kernel reports both without being asked. */
const POLLERR = 0x08;
const POLLHUP = 0x10;
/** `struct pollfd`: int fd, short events, short revents. */
const POLLFD_SIZE = 8;
const REVENTS = 6;

const poll = libcFunction<[fds: Buffer, count: number, timeout: number]>('int poll(void *, unsigned long, int)');

let isPassedThrough = false;

/** Ends this process when a write to stdout or stderr fails: quietly if the reader is gone. */
export function endWhenUnread(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (isPassedThrough) return;
      if (error.code === 'EPIPE') process.exit(UNREAD);
      if (stream === process.stdout) process.stderr.write(`tsvm: cannot write the output: ${messageOf(error)}\n`);
      process.exit(FAILED);
    });
  }
}

/** From now on the output is a container's: its process gets EPIPE, and decides what to do. */
export function passOutputThrough(): void {
  isPassedThrough = true;
}

/**
 * Ends this process also when the reader of stdout goes away while there is nothing to write. For
 * commands that follow something without an end, and whose output is all that they do.
 */
export function endWithReader(): void {
  const status = fstatSync(process.stdout.fd);
  if (!status.isFIFO() && !status.isSocket()) return;
  const pollfd = Buffer.alloc(POLLFD_SIZE);
  pollfd.writeInt32LE(process.stdout.fd);
  setInterval(() => {
    if (poll(pollfd, 1, 0) > 0 && (pollfd.readInt16LE(REVENTS) & (POLLERR | POLLHUP)) !== 0) process.exit(UNREAD);
  }, INTERVAL).unref();
}
