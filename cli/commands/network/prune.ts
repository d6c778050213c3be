// tsvm network prune: removes the networks that no container uses.
import type { Command } from 'commander';
import { Home } from '../../../sandbox/internal.js';
import { hasLabels, parseFilters } from '../../options/filter.js';
import { confirmed } from '../../output/prompt.js';
import { type Context, collect, createCommand } from '../command.js';
import { forEachName } from '../operands.js';
import { selectNetworks } from './select.js';

export function command(context: Context): Command {
  return createCommand('tsvm network prune', context)
    .description('Removes all networks that no container uses.')
    .usage('[options]')
    .option('-f, --force', 'do not prompt for confirmation')
    .option('--filter <FILTER>', 'remove only networks with a label: label=NAME[=VALUE]', collect)
    .action(async ({ force, filter = [] }: { force?: boolean; filter?: string[] }) => {
      const labels = parseFilters(filter, ['label']).get('label');
      const warning = 'This will remove all custom networks not used by at least one container.';
      if (!force && !(await confirmed(warning))) return;
      const { networks } = new Home();
      const unused = selectNetworks(['dangling=true'])
        .filter((each) => hasLabels(each.labels, labels))
        .map(({ name }) => name);
      // The labels of a damaged network are lost.
      const damaged = labels === undefined ? networks.damaged() : [];
      unused.push(...damaged.filter((name) => networks.members(name).length === 0));
      if (unused.length > 0) process.stdout.write('Deleted Networks:\n');
      await forEachName(unused, context, async (name) => {
        await networks.remove(name);
        process.stdout.write(`${name}\n`);
      });
    });
}
