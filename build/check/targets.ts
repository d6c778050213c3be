// The stages that a build may be of.
import type { Place } from '../build-error.js';
import { splitLines } from '../dockerfile/lines.js';
import { parseLine } from '../dockerfile/parse.js';
import { descriptionOf } from './globals.js';

export interface Target {
  /** '' if it has none. */
  name: string;
  description: string;
  isDefault: boolean;
  /** As written, with variables. */
  base: string;
  /** As written; '' if there is none. */
  platform: string;
  place: Place;
}

/** @throws BuildError */
export function targetsOf(source: string): Target[] {
  const { lines, escapeToken } = splitLines(source);
  const targets = lines.flatMap((line): Target[] => {
    const instruction = parseLine(line, escapeToken);
    if (instruction.kind !== 'from') return [];
    const { name, image, platform } = instruction;
    const description = descriptionOf({ line, instruction }, name);
    return [
      { name: name ?? '', description, isDefault: false, base: image, platform: platform ?? '', place: line.place },
    ];
  });
  const last = targets.at(-1);
  if (last !== undefined) last.isDefault = true;
  return targets;
}
