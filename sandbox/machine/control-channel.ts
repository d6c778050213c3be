// What goes to a machine process over its control socket: lines of JSON, some with descriptors.
import type { Socket } from 'node:net';
import { tryPassDescriptors } from '../../libc/pass-descriptors.js';
import * as libc from '../../vmm/host/libc.js';
import type { MachineRequest } from '../../vmm/machine.js';
import type { Portion } from './machine-files.js';

/** linux/sockios.h: bytes of a socket that its peer has not read. */
const SIOCOUTQ = 0x5411;

/** True if the process has read all that it was sent. */
export function isRead(control: Socket): boolean {
  if (control.destroyed || control.writableLength > 0) return false;
  const unread = new Int32Array(1);
  return libc.ioctlPointer(descriptorOf(control), SIOCOUTQ, unread) === 0 && unread[0] === 0;
}

/**
 * Sends a request with descriptors, at once.
 * @returns false if there is no room for it, or the process is gone
 */
export function tryPass(control: Socket, request: MachineRequest, descriptors: readonly number[]): boolean {
  if (control.destroyed || control.writableLength > 0) return false;
  const line = Buffer.from(lineOf(request));
  const sent = tryPassDescriptors(descriptorOf(control), descriptors, line);
  if (sent < 0) return false;
  // The descriptors are with the first bytes.
  if (sent < line.length) control.write(line.subarray(sent));
  return true;
}

export function filesLine({ names }: Portion): string {
  return lineOf({ type: 'files', names });
}

export function lineOf(request: MachineRequest): string {
  return `${JSON.stringify(request)}\n`;
}

/** Node.js has no public name for the descriptor of a socket. */
export function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  if (typeof fd === 'number' && fd >= 0) return fd;
  throw new Error('the socket is closed');
}
