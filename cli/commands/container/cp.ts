// tsvm cp: copies files between the host and a container.
import type { Command } from 'commander';
import { Container, copyIn, copyOut, Home } from '../../../sandbox/internal.js';
import { parsePlace } from '../../options/place.js';
import { UsageError } from '../../output/errors.js';
import { type Context, createCommand } from '../command.js';

const EXAMPLES = `
Examples:
  tsvm cp ./src web:/srv
  tsvm cp web:/var/log/app.log .
  tsvm cp -a web:/etc ./etc-of-web
  tsvm cp web:/srv - | tar t
  tar c site | tsvm cp - web:/srv

If DESTINATION is an existing directory, SOURCE is copied into it, otherwise as it. SOURCE/. copies only the contents.
Without -a, files belong to root in the container and to the caller on the host.`;

interface Options {
  archive?: boolean;
  followLink?: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm cp', context)
    .description('Copies files between a container, running or stopped, and the host.')
    .usage('[options] CONTAINER:PATH HOSTPATH|-\n       tsvm cp [options] HOSTPATH|- CONTAINER:PATH')
    .argument('<SOURCE>', 'CONTAINER:PATH, a path on the host, or - for a tar from stdin')
    .argument('<DESTINATION>', 'CONTAINER:PATH, a path on the host, or - for a tar to stdout')
    .option('-a, --archive', 'keep the owners of files')
    .option('-L, --follow-link', 'follow a symbolic link at SOURCE')
    .addHelpText('after', EXAMPLES)
    .action(async (source: string, destination: string, options: Options) => {
      const from = parsePlace(source);
      const to = parsePlace(destination);
      if ((from.container === undefined) === (to.container === undefined)) {
        throw new UsageError('exactly one of source and destination must be CONTAINER:PATH');
      }
      if (from.container !== undefined)
        await toHost(Container.find(new Home(), from.container), from.path, to.path, options);
      else await toContainer(from.path, Container.find(new Home(), to.container!), to.path, options);
    });
}

async function toHost({ files }: Container, from: string, to: string, options: Options): Promise<void> {
  if (to !== '-') return copyOut(files, from, to, options);
  const path = from.startsWith('/') ? from : `/${from}`;
  const name = path.replace(/\/+$/, '').split('/').at(-1) || '.';
  await files.archive(path, name, process.stdout, { follow: options.followLink });
}

async function toContainer(from: string, { files }: Container, to: string, options: Options): Promise<void> {
  if (from !== '-') return copyIn(files, from, to, options);
  await files.extract(to.startsWith('/') ? to : `/${to}`, process.stdin, { owners: options.archive });
}
