// Tells a machine process to boot: sends the open files of its shares, then the specification.
import type { Socket } from 'node:net';
import { MAX_DESCRIPTORS, passDescriptors } from '../../libc/pass-descriptors.js';
import type { MachineRequest, MachineSpec } from '../../vmm/machine.js';

/**
 * Sends the request on a control socket on which nothing was sent before, so that Node.js has
 * nothing left to write.
 * @param shares descriptors of the spec's shares. The caller may close them afterwards.
 * @throws Error if the machine process has closed the socket
 */
export function sendBoot(control: Socket, spec: MachineSpec, shares: readonly number[]): void {
  for (let at = 0; at < shares.length; at += MAX_DESCRIPTORS) {
    const carrier = lineOf({ type: 'descriptors' });
    passDescriptors(descriptorOf(control), shares.slice(at, at + MAX_DESCRIPTORS), Buffer.from(carrier));
  }
  control.write(lineOf({ type: 'boot', spec }));
}

function lineOf(request: MachineRequest): string {
  return `${JSON.stringify(request)}\n`;
}

/** Node.js has no public name for the descriptor of a socket. */
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  if (typeof fd === 'number' && fd >= 0) return fd;
  throw new Error('the socket is closed');
}
