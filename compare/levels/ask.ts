// Commands for the gauge that serves in a sandbox (`tsvm-gauge serve`), for levels that have no way of
// their own to enter a sandbox.
import { builtFile } from '../../installation/index.js';
import type { CommandLine } from '../level.js';

/**
 * @param socket of the host, where the gauge answers
 * @param vsockPort for a hybrid vsock of Firecracker or Cloud Hypervisor, which is told the port first
 */
export function askGauge(socket: string, command: readonly string[], vsockPort = 0): CommandLine {
  return { words: [builtFile('tsvm-gauge'), 'ask', socket, String(vsockPort), ...command], env: {} };
}
