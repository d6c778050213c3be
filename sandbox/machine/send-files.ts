// Sends requests with open files to a machine process.
import type { Socket } from 'node:net';
import { passDescriptors } from '../../libc/pass-descriptors.js';
import type { MachineRequest } from '../../vmm/machine.js';
import type { MachineFiles } from './machine-files.js';

/**
 * Sends the files, and then the request. Node.js must have nothing left to write to the socket. The
 * caller may close the files afterwards.
 * @throws Error if the machine process has closed the socket
 */
export function sendWithFiles(control: Socket, files: MachineFiles, request: MachineRequest): void {
  for (const { names, descriptors } of files.portions) {
    passDescriptors(descriptorOf(control), descriptors, Buffer.from(lineOf({ type: 'files', names })));
  }
  control.write(lineOf(request));
}

export function lineOf(request: MachineRequest): string {
  return `${JSON.stringify(request)}\n`;
}

/** Node.js has no public name for the descriptor of a socket. */
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  if (typeof fd === 'number' && fd >= 0) return fd;
  throw new Error('the socket is closed');
}
