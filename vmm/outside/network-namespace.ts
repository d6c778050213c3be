// A network namespace of others, such as an engine makes for a container. The host's own is never
// entered.
import { closeSync, fstatSync, openSync, type Stats, statSync } from 'node:fs';
import { hasCode, messageOf } from '../../errors/index.js';
import * as libc from '../host/libc.js';
import { MachineError } from '../machine.js';

const SYS_SETNS = 308;
const CLONE_NEWNET = 0x40000000;
/** linux/nsfs.h */
const NS_GET_NSTYPE = 0xb703;

/** Namespaces that are the host's: this process's, and that of its first one, which may be hidden. */
const HOST = ['/proc/thread-self/ns/net', '/proc/1/ns/net'];

const CANNOT_COMPARE = "tsvm cannot tell the network namespace from the host's own";

/**
 * Returns true for the host's own namespace.
 * @throws MachineError `no-network` for what is no network namespace; Error of a system call
 */
export function isHostNetwork(path: string): boolean {
  const namespace = open(path);
  try {
    return isHosts(namespace);
  } finally {
    closeSync(namespace);
  }
}

function open(path: string): number {
  const namespace = openSync(path, 'r');
  if (libc.ioctl(namespace, NS_GET_NSTYPE, 0) === CLONE_NEWNET) return namespace;
  closeSync(namespace);
  throw new MachineError('no-network', `${path}: no network namespace`);
}

function isHosts(namespace: number): boolean {
  const { dev, ino } = fstatSync(namespace);
  return HOST.some((each) => {
    const host = statHost(each);
    return host.dev === dev && host.ino === ino;
  });
}

/** The first process of the host may be out of reach: what cannot be compared may be the host's. */
function statHost(path: string): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    const reason = hasCode(cause, 'EACCES', 'EPERM') ? 'permission denied' : messageOf(cause);
    throw new MachineError('no-network', `${CANNOT_COMPARE}: ${path}: ${reason}`, { cause });
  }
}

/**
 * Calls `visit`, which must not wait, with this thread in the namespace.
 * @param path of the namespace
 * @param isNew it was made for this machine, so it is not the host's
 * @throws MachineError `no-network` for the host's own, and for what is none; Error of a system call; what `visit` throws
 */
export function inNetworkNamespace<T>(path: string, visit: () => T, isNew = false): T {
  const other = open(path);
  const own = openSync('/proc/thread-self/ns/net', 'r');
  try {
    if (!isNew && isHosts(other)) {
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
