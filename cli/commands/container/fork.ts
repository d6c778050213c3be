// tsvm fork: starts clones of a running container.
import type { Command } from 'commander';
import { Container, Home } from '../../../sandbox/internal.js';
import { addOptions, type Declaration, readOptions } from '../../options/declaration.js';
import { parseInteger } from '../../options/number.js';
import { describeError, exitCode, UsageError } from '../../output/errors.js';
import { startWarnings } from '../../output/warnings.js';
import { type Context, createCommand, openLog } from '../command.js';

const MOST = 1000;

interface Options {
  number?: number;
}

const OPTIONS: readonly Declaration<Options>[] = [
  { flags: '-n, --number <N>', help: 'how many (default: 1)', field: 'number', parse: parseNumber },
];

export function command(context: Context): Command {
  const command = createCommand('tsvm fork', context);
  return addOptions(command, OPTIONS)
    .description('Starts clones of a running container, with its memory, processes and disk, in the background.')
    .usage('[options] CONTAINER')
    .argument('<CONTAINER>', 'name or ID')
    .addHelpText('after', '\nPrints their names. The container runs on.\n\nExamples:\n  tsvm fork -n 10 web')
    .action(async (reference: string) => {
      const { number = 1 } = readOptions(OPTIONS, command);
      const log = await openLog(context);
      const results = await Container.find(new Home(), reference).fork(number, startWarnings(log));
      for (const result of results) {
        if (result.status === 'fulfilled') {
          process.stdout.write(`${result.value.name ?? result.value.id}\n`);
          continue;
        }
        log.error(describeError(result.reason).message);
        context.exitCode = exitCode(result.reason);
      }
    });
}

/** @throws UsageError */
function parseNumber(text: string, flag: string): number {
  const number = parseInteger(text, flag);
  if (number >= 1 && number <= MOST) return number;
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected 1 to ${MOST}`);
}
