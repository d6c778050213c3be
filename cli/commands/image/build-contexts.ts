// --build-context of `tsvm build`, in Docker's form.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { NamedContext } from '../../../build/index.js';
import { hasCode } from '../../../errors/index.js';
import { UsageError } from '../../output/errors.js';

/**
 * Reads `NAME=DIR`, `NAME=docker-image://IMAGE` and `NAME=oci-layout://DIR[:TAG]`.
 * @throws UsageError, BuildError
 */
export async function parseContexts(given: readonly string[]): Promise<Map<string, NamedContext>> {
  const { contextKey } = await import('../../../build/index.js');
  const contexts = new Map<string, NamedContext>();
  for (const text of given) {
    const fail = (why: string): never => {
      throw new UsageError(`invalid argument '${text}' for --build-context: ${why}`);
    };
    const [name = '', value] = text.split(/=(.*)/s, 2);
    if (value === undefined || value === '') return fail('expected NAME=CONTEXT');
    const key = contextKey(name) ?? fail(`invalid context name ${name}`);
    if (contexts.has(key)) fail(`the name ${name} was given twice`);
    contexts.set(key, await contextOf(value, fail));
  }
  return contexts;
}

async function contextOf(value: string, fail: (why: string) => never): Promise<NamedContext> {
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(value) ?? [];
  if (scheme === 'docker-image') {
    const { contextKey } = await import('../../../build/index.js');
    return contextKey(rest) === undefined ? fail(`invalid image name ${rest}`) : { is: 'image', reference: rest };
  }
  if (scheme === 'oci-layout') {
    if (rest === '' || rest.includes('@')) fail('expected oci-layout://DIR[:TAG]');
    return { is: 'image', reference: `oci:${rest}` };
  }
  if (scheme !== undefined || value.startsWith('git@')) fail('expected a folder, docker-image:// or oci-layout://');
  if (!statSync(value, { throwIfNoEntry: false })?.isDirectory()) fail(`${value} is not a folder`);
  return { is: 'folder', path: value, ignore: await ignoreOf(join(value, '.dockerignore')) };
}

async function ignoreOf(path: string) {
  const { parseIgnore } = await import('../../../build/index.js');
  try {
    return parseIgnore(readFileSync(path), path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
