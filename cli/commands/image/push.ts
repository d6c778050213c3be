// tsvm push: uploads an image to the registry of its name.
import { type Command, Option } from 'commander';
import { PUSH_COMPRESSIONS, type PushOptions } from '../../../images/index.js';
import { type ManifestLists, manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';
import { abortOnSignal } from '../../foreground/signals.js';
import { UsageError } from '../../output/errors.js';
import { openPushProgress } from '../../output/push-progress.js';
import { type Context, createCommand, defined, openLog } from '../command.js';

interface Options {
  allTags?: boolean;
  compression?: (typeof PUSH_COMPRESSIONS)[number];
}

export function command(context: Context): Command {
  return createCommand('tsvm push', context)
    .description(
      'Uploads an image, or what a build of several platforms made, to the registry of its name. With --quiet, prints only its name.',
    )
    .usage('[options] NAME[:TAG]')
    .argument('<NAME>', 'name of the image; me/app is docker.io/me/app:latest')
    .option('-a, --all-tags', 'push all tags of the name')
    .addOption(
      new Option('--compression <gzip|zstd>', 'of layers made here (default: gzip); others stay as they are').choices(
        PUSH_COMPRESSIONS,
      ),
    )
    .action(async (name: string, { allTags = false, compression }: Options) => {
      const { images, path } = new Home();
      const lists = manifestLists(path);
      const names = allTags ? await allNames(images, lists, name) : [name];
      using ending = abortOnSignal();
      const options = { signal: ending.signal, ...defined({ compression }) };
      for (const each of names) await push(images, lists, each, options, context);
    });
}

type Images = Home['images'];

/**
 * The names in the store that a name without a tag stands for, those of lists that a build made
 * too.
 */
async function allNames(images: Images, lists: ManifestLists, name: string): Promise<string[]> {
  if (/[:@][^/]*$/.test(name)) throw new UsageError("tag can't be used with --all-tags/-a");
  const repository = familiar(name);
  const ofImages = (await images.list()).flatMap((image) =>
    image.name === repository && image.tag !== null ? [image.tag] : [],
  );
  const ofLists = lists.names().flatMap((list) => {
    const colon = list.lastIndexOf(':');
    return familiar(list.slice(0, colon)) === repository && lists.isBuilt(list) ? [list.slice(colon + 1)] : [];
  });
  const tags = [...new Set([...ofImages, ...ofLists])];
  if (tags.length === 0) throw new UsageError(`An image does not exist locally with the tag: ${name}`);
  return tags.map((tag) => `${name}:${tag}`);
}

/** A repository as `tsvm images` shows it. */
function familiar(repository: string): string {
  return repository.replace(/^(index\.)?docker\.io\/(library\/)?/, '');
}

async function push(images: Images, lists: ManifestLists, name: string, options: PushOptions, context: Context) {
  const { quiet } = context.options;
  using bars = openPushProgress(quiet);
  const onProgress = bars.update.bind(bars);
  const pushed = lists.isBuilt(name)
    ? await lists.push(name, { ...options, onProgress })
    : await images.push(name, { ...options, onProgress });
  bars[Symbol.dispose]();
  if (pushed.recompressed.length > 0) {
    const log = await openLog(context);
    log.warn(
      `no registry gave the blobs of these layers again, so they were compressed anew and the image's digest changes: ${pushed.recompressed.join(', ')}`,
    );
  }
  const tag = pushed.name.slice(pushed.name.lastIndexOf(':') + 1);
  process.stdout.write(quiet ? `${pushed.name}\n` : `${tag}: digest: ${pushed.digest} size: ${pushed.size}\n`);
}
