// tsvm manifest push: uploads a list and its images to a registry.
import { type Command, Option } from 'commander';
import { manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';
import { abortOnSignal } from '../../foreground/signals.js';
import { openPushProgress } from '../../output/push-progress.js';
import { type Context, createCommand, defined } from '../command.js';

interface Options {
  purge?: boolean;
  rm?: boolean;
}

export function command(context: Context): Command {
  return createCommand('tsvm manifest push', context)
    .description('Uploads a list to a registry, with its images as far as they are not there. Prints its digest.')
    .usage('[options] MANIFEST_LIST [DESTINATION]')
    .argument('<MANIFEST_LIST>', 'name of the list: NAME[:TAG]')
    .argument('[DESTINATION]', 'another name to push it to: NAME[:TAG]')
    .option('-p, --purge', 'remove the list of this home once it is pushed')
    .addOption(new Option('--rm', "podman's word for --purge").hideHelp())
    .action(async (name: string, destination: string | undefined, { purge = false, rm = false }: Options) => {
      const lists = manifestLists(new Home().path);
      const { quiet } = context.options;
      using bars = openPushProgress(quiet);
      using ending = abortOnSignal();
      const onProgress = bars.update.bind(bars);
      const to = destination?.replace(/^docker:\/\//, '');
      const pushed = await lists.push(name, { onProgress, signal: ending.signal, ...defined({ to }) });
      bars[Symbol.dispose]();
      const repository = pushed.name.replace(/:[^:/]*$/, '');
      if (!quiet) {
        for (const digest of pushed.copied) {
          process.stdout.write(`Pushed ref ${repository}@${digest} with digest: ${digest}\n`);
        }
      }
      process.stdout.write(`${pushed.digest}\n`);
      if (purge || rm) await lists.remove(name);
    });
}
