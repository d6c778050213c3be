// --restart, in Docker's form.
import type { RestartPolicy } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';

export const RESTART_POLICIES: readonly RestartPolicy['name'][] = ['no', 'on-failure', 'always', 'unless-stopped'];

/** The policy of `always` or `on-failure:3`. @throws UsageError */
export function parseRestart(text: string, flag: string): RestartPolicy | undefined {
  if (text === '') return undefined;
  const [, word, count] = /^([a-z-]+)(?::(\d{1,6}))?$/.exec(text) ?? [];
  const name = RESTART_POLICIES.find((policy) => policy === word);
  if (name === undefined || (count !== undefined && name !== 'on-failure')) {
    throw new UsageError(
      `invalid argument '${text}' for ${flag}: expected no, on-failure[:N], always or unless-stopped`,
    );
  }
  return count === undefined ? { name } : { name, maximumRetryCount: Number(count) };
}
