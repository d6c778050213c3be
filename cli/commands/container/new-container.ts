// Creates the container of `tsvm run` and `tsvm create`, and shows the progress of its image.
import { existsSync, writeFileSync } from 'node:fs';
import { messageOf } from '../../../errors/index.js';
import { Container, type ContainerSpec, Home, SandboxError } from '../../../sandbox/internal.js';
import { openPullProgress } from '../../output/pull-progress.js';
import type { Context } from '../command.js';

/**
 * @param cidfile path of a new file for the container's ID
 * @param isSupervised as in `CreateOptions`
 */
export async function newContainer(
  spec: ContainerSpec,
  { options: { quiet } }: Context,
  { cidfile, isSupervised }: { cidfile?: string | undefined; isSupervised?: boolean } = {},
): Promise<Container> {
  if (cidfile !== undefined && existsSync(cidfile)) {
    throw new SandboxError('bad-spec', `the container ID file ${cidfile} already exists: remove it`);
  }
  using bars = openPullProgress(quiet);
  if (spec.pull === 'always') bars.pulling();
  const container = await Container.create(new Home(), spec, {
    isSupervised,
    onProgress: bars.update.bind(bars),
    onMissing: (image) => {
      bars.pulling();
      if (!quiet) process.stderr.write(`Unable to find image '${image}' locally\n`);
    },
  });
  if (cidfile !== undefined) await writeIdFile(container, cidfile);
  return container;
}

/**
 * Writes the ID of a new container to a new file. If that fails, removes the container.
 * @throws SandboxError `bad-spec`
 */
export async function writeIdFile(container: Container, path: string): Promise<void> {
  try {
    writeFileSync(path, container.id, { flag: 'wx' });
  } catch (cause) {
    await container.remove();
    throw new SandboxError('bad-spec', `cannot write the container ID file: ${messageOf(cause)}`, { cause });
  }
}
