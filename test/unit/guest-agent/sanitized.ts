// Builds C programs of the tests with the agent's sources, AddressSanitizer and
// UndefinedBehaviorSanitizer.
import { execFileSync } from 'node:child_process';
import { basename, join } from 'node:path';

const here = new URL('.', import.meta.url).pathname;
const agent = join(here, '../../../guest-agent');
const FLAGS = ['-std=gnu11', '-D_GNU_SOURCE', `-I${agent}`, '-g', '-O1', '-Wall', '-Wextra', '-Werror'];
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

/**
 * Builds a program and returns its path.
 *
 * @param main the file in this folder that has `main`
 * @param sources the agent's files that it uses
 * @param flags more of the compiler
 */
export function buildSanitized(
  directory: string,
  main: string,
  sources: readonly string[],
  flags: readonly string[] = [],
): string {
  const program = join(directory, basename(main, '.c'));
  const files = [join(here, main), ...sources.map((name) => join(agent, name))];
  execFileSync('gcc', [...FLAGS, ...flags, ...SANITIZERS, ...files, '-o', program], { stdio: 'inherit' });
  return program;
}
