// A network namespace of others, such as an engine makes for a container. The host's own is never
// entered.
import { closeSync, openSync, statSync } from 'node:fs';
import * as libc from '../host/libc.js';
import { MachineError } from '../machine.js';

const SYS_SETNS = 308;
const CLONE_NEWNET = 0x40000000;

/** Namespaces that are the host's: this process's, and that of its first one, which may be hidden. */
const HOST = ['/proc/thread-self/ns/net', '/proc/1/ns/net'];

/** Returns true for the host's own namespace. @throws Error of a system call */
export function isHostNetwork(path: string): boolean {
  const { dev, ino } = statSync(path);
  return HOST.some((each) => {
    const host = statSync(each);
    return host.dev === dev && host.ino === ino;
  });
}

/**
 * Calls `visit`, which must not wait, with this thread in the namespace.
 * @param path of the namespace
 * @throws MachineError `no-network` for the host's own; Error of a system call; what `visit` throws
 */
export function inNetworkNamespace<T>(path: string, visit: () => T): T {
  const other = openSync(path, 'r');
  const own = openSync('/proc/thread-self/ns/net', 'r');
  try {
    if (isHostNetwork(`/proc/self/fd/${other}`)) {
      throw new MachineError('no-network', "the network namespace is the host's own");
    }
    enter(other);
    try {
      return visit();
    } finally {
      enter(own);
    }
  } finally {
    closeSync(own);
    closeSync(other);
  }
}

function enter(namespace: number): void {
  libc.check(libc.syscall(SYS_SETNS, namespace, CLONE_NEWNET, 0, 0, 0, 0), 'setns');
}
