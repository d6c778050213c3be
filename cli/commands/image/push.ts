// tsvm push: uploads an image to the registry of its name.
import { type Command, Option } from 'commander';
import { PUSH_COMPRESSIONS, type PushOptions } from '../../../images/index.js';
import { manifestLists } from '../../../images/lists.js';
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
      const { images } = new Home();
      const names = allTags ? await allNames(images, name) : [name];
      using ending = abortOnSignal();
      const options = { signal: ending.signal, ...defined({ compression }) };
      for (const each of names) await push(images, each, options, context);
    });
}

type Images = Home['images'];

/** The names in the store that a name without a tag stands for. */
async function allNames(images: Images, name: string): Promise<string[]> {
  if (/[:@][^/]*$/.test(name)) throw new UsageError("tag can't be used with --all-tags/-a");
  const repository = name.replace(/^(index\.)?docker\.io\/(library\/)?/, '');
  const names = (await images.list()).flatMap((image) =>
    image.name === repository && image.tag !== null ? [`${name}:${image.tag}`] : [],
  );
  if (names.length === 0) throw new UsageError(`An image does not exist locally with the tag: ${name}`);
  return names;
}

async function push(images: Images, name: string, options: PushOptions, context: Context) {
  const { quiet } = context.options;
  using bars = openPushProgress(quiet);
  const onProgress = bars.update.bind(bars);
  const lists = manifestLists(new Home().path);
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
