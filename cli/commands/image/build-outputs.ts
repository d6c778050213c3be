// Where `tsvm build` writes what --output says.
import { statSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Output } from '../../../build/index.js';
import { parseOutputs } from '../../options/build-output.js';
import { UsageError } from '../../output/errors.js';
import { saveTo } from './save-to.js';

export interface Outputs {
  list: Output[];
  /** Stdout has the ID of an image that was made, unless an archive goes there. */
  isIdShown: boolean;
}

/** @throws UsageError */
export function openOutputs(given: readonly string[]): Outputs {
  if (given.length === 0) return { list: [{ type: 'image' }], isIdShown: true };
  const parsed = parseOutputs(given);
  const list = parsed.map(({ type, dest = '' }): Output => {
    if (type === 'image') return { type };
    const found = dest === '-' ? undefined : statSync(dest, { throwIfNoEntry: false });
    if (type === 'local') {
      if (found !== undefined && !found.isDirectory()) throw new UsageError(`destination ${dest} is not a folder`);
      return { type, folder: dest };
    }
    if (found?.isDirectory()) throw new UsageError(`destination folder ${dest} given for ${type} output`);
    if (dest !== '-') return { type, take: (archive) => saveTo(dest, (output) => pipeline(archive, output)) };
    if (process.stdout.isTTY) {
      throw new UsageError(`dest file is required for ${type} output: refusing to write to a terminal`);
    }
    // Standard output belongs to the process, so it is left open.
    return { type, take: (archive) => pipeline(archive, process.stdout, { end: false }) };
  });
  const hasImage = list.some(({ type }) => type !== 'local' && type !== 'tar');
  return { list, isIdShown: hasImage && parsed.every(({ dest }) => dest !== '-') };
}
