// Opens what a specification names, with an error that says what it is.
import { openSync } from 'node:fs';
import { codeOf, messageOf } from '../../errors/index.js';
import { OWN_FILES } from '../../vmm/host/files.js';
import * as libc from '../../vmm/host/libc.js';
import { MachineError, type MachineErrorCode } from '../../vmm/machine.js';

const STREAM = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC;

/** @param what the file is, before its path in a message. @throws MachineError of this code */
export function open(path: string, flags: number, what: string, code: MachineErrorCode = 'host'): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    throw new MachineError(code, `${what} ${path}: ${codeOf(cause) ?? messageOf(cause)}`, { cause });
  }
}

/** Listens at a path. @throws MachineError `bad-spec` for one that is too long, `host` */
export function listen(path: string, what: string, backlog: number): number {
  try {
    return OWN_FILES.listen(path, STREAM, backlog);
  } catch (cause) {
    if (cause instanceof RangeError) throw new MachineError('bad-spec', cause.message, { cause });
    throw new MachineError('host', `cannot create ${what} ${path}: ${codeOf(cause) ?? messageOf(cause)}`, { cause });
  }
}
