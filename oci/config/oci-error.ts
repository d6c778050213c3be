// The errors of the OCI runtime, and the texts that engines look for in them.
import { messageOf } from '../../errors/index.js';

/** What an engine is told. */
export class OciError extends Error {
  override name = 'OciError';
}

export const NO_HOST_NETWORK = "tsvm runs no container in the host's network: use runc for this one";

/** What the C library says, and what engines that make 126 and 127 of it compare with. */
const TEXTS: readonly (readonly [string, string])[] = [
  ['No such file or directory', 'no such file or directory'],
  ['Permission denied', 'permission denied'],
];

/** One line for the engine, in runc's words. */
export function engineText(error: unknown): string {
  let text = messageOf(error);
  for (const [ours, theirs] of TEXTS) text = text.replaceAll(ours, theirs);
  return text.replace(/[\r\n]+/g, ' ');
}
