// The file of a build step's result: a line with the diff-id of its layer, and one with the time at
// which it was made. A build of steps that are all in the cache makes the same image again.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { STEPS } from './layout.js';
import { list } from './names.js';

/** 64 hexadecimal digits. */
export const KEY = /^[0-9a-f]{64}$/;
const DIFF_ID = /^sha256:[0-9a-f]{64}$/;
/** Stands for the layer of a step that changed no file. */
const NO_LAYER = '-';

/** The diff-id of a step's layer, or null if the step changed no file. */
export type StepLayer = string | null;

export interface StepResult {
  layer: StepLayer;
  /** RFC 3339 time. */
  created: string;
}

/** Returns undefined if there is no such step, or its file is damaged. */
export function readStep(home: string, key: string): StepResult | undefined {
  try {
    const [layer = '', created = ''] = readFileSync(join(home, STEPS, key), 'utf8').split('\n');
    if (Number.isNaN(Date.parse(created))) return undefined;
    if (layer === NO_LAYER) return { layer: null, created };
    return DIFF_ID.test(layer) ? { layer, created } : undefined;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The contents of a step's file. */
export function stepContents({ layer, created }: StepResult): string {
  return `${layer ?? NO_LAYER}\n${created}\n`;
}

/** The layers that steps refer to. */
export function stepLayers(home: string): string[] {
  return list(join(home, STEPS)).flatMap((key) => readStep(home, key)?.layer ?? []);
}
