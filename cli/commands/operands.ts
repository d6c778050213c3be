// Commands with several operands (containers, volumes, networks): a failure of one does not stop
// the others.
import { Container, Home } from '../../sandbox/internal.js';
import { describeError, exitCode } from '../output/errors.js';
import { type Context, openLog } from './command.js';

/**
 * Acts on all containers at once. Prints what `act` returns, or else the reference as the caller
 * wrote it; logs each failure.
 */
export function forEachContainer(
  references: readonly string[],
  context: Context,
  act: (container: Container) => Promise<string | undefined> | string | undefined,
): Promise<void> {
  return forEachReference(references, context, (reference) => act(Container.find(new Home(), reference)));
}

/**
 * As `forEachContainer`, for containers that may be damaged or missing. Prints nothing if `act`
 * returns null.
 */
export async function forEachReference(
  references: readonly string[],
  context: Context,
  act: (reference: string) => Promise<string | null | undefined> | string | null | undefined,
): Promise<void> {
  const log = await openLog(context);
  const outcomes = await Promise.allSettled(references.map(async (reference) => act(reference)));
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === 'fulfilled') {
      if (outcome.value !== null) process.stdout.write(`${outcome.value ?? references[index]}\n`);
    } else {
      log.error(describeError(outcome.reason).message);
      context.exitCode = exitCode(outcome.reason);
    }
  }
}

/** Acts on each name in turn. Logs each failure. */
export async function forEachName(
  names: readonly string[],
  context: Context,
  act: (name: string) => Promise<void> | void,
): Promise<void> {
  const log = await openLog(context);
  for (const name of names) {
    try {
      await act(name);
    } catch (error) {
      log.error(describeError(error).message);
      context.exitCode = exitCode(error);
    }
  }
}
