// The file that has the state of a saved machine except its memory: JSON.
import { readFileSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import * as libc from '../host/libc.js';
import { MachineError } from '../machine.js';

/** Bytes. A vCPU takes some 30 KiB, and each of the 2^19 files that a share remembers some 300 bytes. */
export const MAX_STATE = 256 * 2 ** 20;

/** Writes the state to an empty file. @throws libc.SystemError, also if the file's disk is full */
export function writeState(fd: number, state: unknown): void {
  let bytes = Buffer.from(JSON.stringify(state));
  while (bytes.length > 0) bytes = bytes.subarray(libc.check(libc.write(fd, bytes, bytes.length), 'write'));
}

/**
 * Reads the state, which is not checked yet, and closes the file.
 * @throws MachineError `bad-snapshot`
 */
export function readState(fd: number): unknown {
  try {
    const { size } = libc.fileStatus(fd);
    if (size > MAX_STATE) throw new RangeError('it is too large');
    return JSON.parse(readFileSync(fd, 'utf8'));
  } catch (cause) {
    throw new MachineError('bad-snapshot', `the saved state is damaged: ${messageOf(cause)}`, { cause });
  } finally {
    libc.close(fd);
  }
}
