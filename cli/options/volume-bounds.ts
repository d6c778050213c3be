// The bounds of a volume: --size, --inodes, and --opt in the form of Docker's drivers with quotas.
import type { VolumeBounds } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { parseSize } from './size.js';

export interface BoundOptions {
  size?: string;
  inodes?: string;
  opt?: string[];
}

/** @throws UsageError */
export function parseVolumeBounds({ size, inodes, opt = [] }: BoundOptions): VolumeBounds {
  const bounds = parseBoundOptions(opt, '--opt');
  if (size !== undefined) bounds.size = parseBound('size', size, '--size');
  if (inodes !== undefined) bounds.inodes = parseBound('inodes', inodes, '--inodes');
  return bounds;
}

/**
 * The bounds of `size=10g` and `inodes=1000`.
 * @throws UsageError
 */
export function parseBoundOptions(options: readonly string[], flag: string): VolumeBounds {
  const bounds: VolumeBounds = {};
  for (const text of options) applyOption(bounds, text, flag);
  return bounds;
}

function applyOption(bounds: VolumeBounds, text: string, flag: string): void {
  const [name, value = ''] = text.split(/=(.*)/s, 2);
  if (name !== 'size' && name !== 'inodes') {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected size=SIZE or inodes=N`);
  }
  bounds[name] = parseBound(name, value, `${flag} ${name}`);
}

function parseBound(name: keyof VolumeBounds, text: string, flag: string): number {
  if (name === 'inodes' && !/^\d{1,15}$/.test(text)) {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a number`);
  }
  const bound = name === 'size' ? parseSize(text, flag) : Number(text);
  if (bound > 0) return bound;
  throw new UsageError(`invalid argument '${text}' for ${flag}: must be above 0`);
}
