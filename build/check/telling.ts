// Tells a build's reader what its checks have found.
import { messageOf } from '../../errors/index.js';
import type { Steps } from '../progress.js';
import type { Checked } from './check.js';

/** Tells it when it is disposed of. A check that fails takes nothing from the build. */
export function tellingFindings(
  checking: Promise<Checked>,
  steps: Steps,
  signal: AbortSignal | undefined,
): AsyncDisposable {
  const checked = checking.catch((error: unknown) => ({ failure: messageOf(error) }));
  return {
    async [Symbol.asyncDispose]() {
      if (signal?.aborted) return;
      const result = await checked;
      if ('failure' in result) steps.warn(`the checks of the Dockerfile failed: ${result.failure}`);
      else steps.checked(result.findings);
    },
  };
}
