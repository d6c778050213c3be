// tsvm manifest annotate: says what platform an image of a list is for.
import type { Command } from 'commander';
import { manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';
import { type Context, collect, createCommand, defined } from '../command.js';

interface Options {
  arch?: string;
  os?: string;
  osFeatures?: string[];
  osVersion?: string;
  variant?: string;
}

export function command(context: Context): Command {
  return createCommand('tsvm manifest annotate', context)
    .description('Says what platform an image of a list is for, in place of what its config says.')
    .usage('[options] MANIFEST_LIST MANIFEST')
    .argument('<MANIFEST_LIST>', 'name of the list: NAME[:TAG]')
    .argument('<MANIFEST>', 'the image, by the name it was added by, or by its digest')
    .option('--arch <ARCH>', 'architecture, such as arm64')
    .option('--os <OS>', 'operating system, such as linux')
    .option('--os-features <FEATURE,...>', 'features of the operating system', collect)
    .option('--os-version <VERSION>', 'version of the operating system')
    .option('--variant <VARIANT>', 'variant of the architecture, such as v7')
    .action(async (name: string, member: string, { arch, os, osFeatures, osVersion, variant }: Options) => {
      const change = defined({
        architecture: arch,
        os,
        osFeatures: osFeatures?.flatMap((text) => text.split(',')),
        osVersion,
        variant,
      });
      if (Object.keys(change).length === 0) throw new UsageError('nothing to change: give --arch, --os or --variant');
      await manifestLists(new Home().path).annotate(name, member, change);
    });
}
