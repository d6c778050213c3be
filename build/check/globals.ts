// The arguments before the first FROM, and what comments say of arguments and stages.
import { BuildError } from '../build-error.js';
import { platformArgs } from '../platform-args.js';
import type { Expander } from './expander.js';
import type { FileSubject, ParsedLine } from './subjects.js';
import type { DeclaredArg } from './surveyed.js';

/** A description in the comment right above an instruction: `# NAME description`. */
export function descriptionOf({ line: { comments } }: ParsedLine, name: string | undefined): string {
  const adjacent = comments.slice(comments.lastIndexOf('') + 1);
  const found = adjacent.find((comment) => name !== undefined && comment.startsWith(`${name} `));
  return found === undefined ? '' : found.slice((name ?? '').length + 1);
}

export interface Globals {
  values: Map<string, string>;
  args: Map<string, DeclaredArg>;
}

/** The arguments before the first FROM. */
export function readGlobals(
  head: readonly ParsedLine[],
  buildArgs: Readonly<Record<string, string>>,
  expander: Expander,
): Globals {
  const values = new Map<string, string>(Object.entries(platformArgs()));
  const args = new Map<string, DeclaredArg>();
  for (const one of head) {
    if (one.instruction.kind !== 'arg') continue;
    const { place } = one.line;
    for (const { name, value } of one.instruction.args) {
      const given = Object.hasOwn(buildArgs, name) ? buildArgs[name] : undefined;
      const own =
        given !== undefined || value === undefined ? undefined : expander.word(value, (key) => values.get(key), place);
      const needs = new Set(own?.matched);
      // An argument that extends itself needs what it needed before.
      if (needs.delete(name)) for (const need of args.get(name)?.needs ?? []) needs.add(need);
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
      values ??= readGlobals(head, {}, expander).values;
      return expander.word(instruction.image, (name) => values?.get(name), line.place).text;
    } catch (error) {
      // The build meets the same error, and tells it.
      if (error instanceof BuildError) return undefined;
      throw error;
    }
  };
}
