// The arguments before the first FROM, and what comments say of arguments and stages.
import { MACHINE } from '../../images/build.js';
import { BuildError } from '../build-error.js';
import { platformArgs } from '../platform-args.js';
import type { Expander } from './expander.js';
import type { FileSubject, ParsedLine } from './subjects.js';
import type { DeclaredArg, SurveyOptions } from './surveyed.js';

/** A description in the comment right above an instruction: `# NAME description`. */
export function descriptionOf({ line: { comments } }: ParsedLine, name: string | undefined): string {
  let found = descriptions.get(comments);
  if (found === undefined) {
    found = new Map();
    for (const comment of comments.slice(comments.lastIndexOf('') + 1)) {
      const space = comment.indexOf(' ');
      const described = comment.slice(0, Math.max(0, space));
      if (!found.has(described)) found.set(described, comment.slice(space + 1));
    }
    descriptions.set(comments, found);
  }
  return name === undefined ? '' : (found.get(name) ?? '');
}

/** By first word, of the comments of an instruction: an ARG may ask for a million of them. */
const descriptions = new WeakMap<readonly string[], Map<string, string>>();

export interface Globals {
  values: Map<string, string>;
  args: Map<string, DeclaredArg>;
}

/** The arguments before the first FROM. */
export function readGlobals(
  head: readonly ParsedLine[],
  { buildArgs, platform = MACHINE }: Pick<SurveyOptions, 'buildArgs' | 'platform'>,
  expander: Expander,
): Globals {
  const values = new Map<string, string>(Object.entries(platformArgs(platform)));
  const args = new Map<string, DeclaredArg>();
  for (const one of head) {
    if (one.instruction.kind !== 'arg') continue;
    const { place } = one.line;
    for (const { name, value } of one.instruction.args) {
      const given = Object.hasOwn(buildArgs, name) ? buildArgs[name] : undefined;
      const own =
        given !== undefined || value === undefined ? undefined : expander.word(value, (key) => values.get(key), place);
      // An argument that extends itself needs what it needed before. It may do so a million times: the set
      // is the one of before, not a copy.
      const needs = own?.matched.has(name) ? (args.get(name)?.needs ?? new Set()) : new Set<string>();
      for (const need of own?.matched ?? []) if (need !== name) needs.add(need);
      const result = given ?? own?.text;
      if (result !== undefined) values.set(name, result);
      args.set(name, { name, value: result, description: descriptionOf(one, name), place, needs });
    }
  }
  return { values, args };
}

/** The image of a FROM as it is without build arguments. */
export function defaultImages(head: readonly ParsedLine[], expander: Expander): FileSubject['defaultImage'] {
  let values: Map<string, string> | undefined;
  return ({ from: { line, instruction } }) => {
    try {
      values ??= readGlobals(head, { buildArgs: {} }, expander).values;
      return expander.word(instruction.image, (name) => values?.get(name), line.place).text;
    } catch (error) {
      // The build meets the same error, and tells it.
      if (error instanceof BuildError) return undefined;
      throw error;
    }
  };
}
