// tsvm inspect: prints the details of containers and images.
import { type Command, Option } from 'commander';
import { ImageError } from '../../../images/index.js';
import { Container, Home, SandboxError } from '../../../sandbox/internal.js';
import { describeError, FAILED } from '../../output/errors.js';
import { formatObjects } from '../../output/listing.js';
import { type Context, createCommand, openLog } from '../command.js';

/**
 * The types of objects, in the order of the search. Each resolves to the details of an object, or
 * to null.
 */
const KINDS: Record<string, (reference: string) => Promise<object | null>> = {
  container: inspectContainer,
  image: inspectImage,
};

const EXAMPLES = `
Examples:
  tsvm inspect web
  tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
  tsvm inspect --type image -f '{{json .Config.Env}}' debian:12`;

interface Options {
  format?: string;
  type?: string;
}

export function command(context: Context): Command {
  return createCommand('tsvm inspect', context)
    .description('Prints all details of containers and images as JSON.')
    .usage('[options] NAME|ID...')
    .argument('<NAME...>', 'names or IDs')
    .option('-f, --format <FORMAT>', "json, or a template such as '{{.Config.Cmd}}' (default: indented JSON)")
    .addOption(new Option('--type <TYPE>', 'inspect only objects of this type').choices(Object.keys(KINDS)))
    .addHelpText('after', EXAMPLES)
    .action(async (references: string[], { format, type }: Options) => {
      const log = await openLog(context);
      const found: object[] = [];
      for (const reference of references) {
        try {
          const object = await find(reference, type);
          if (object) found.push(object);
          else throw new ImageError('unknown-image', `No such ${type ?? 'object'}: ${reference}`);
        } catch (error) {
          // The other objects are still shown.
          log.error(describeError(error).message);
          context.exitCode = FAILED;
        }
      }
      process.stdout.write(formatObjects(found, format));
    });
}

async function find(reference: string, type: string | undefined): Promise<object | null> {
  for (const [kind, inspect] of Object.entries(KINDS)) {
    const object = type === undefined || type === kind ? await inspect(reference) : null;
    if (object) return object;
  }
  return null;
}

async function inspectContainer(reference: string): Promise<object | null> {
  try {
    return Container.find(new Home(), reference).describe();
  } catch (error) {
    if (error instanceof SandboxError && error.code === 'no-such-container') return null;
    throw error;
  }
}

async function inspectImage(reference: string): Promise<object | null> {
  try {
    return await new Home().images.inspect(reference);
  } catch (error) {
    if (error instanceof ImageError && (error.code === 'unknown-image' || error.code === 'bad-reference')) return null;
    throw error;
  }
}
