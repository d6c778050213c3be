// Makes the container that the words of `tsvm run` and `tsvm create` ask for, and says what its image is waited for.
import { Container, type ContainerSpec } from '../sandbox/index.js';
import type { Context } from './command.js';
import { openPullProgress } from './pull-progress.js';

export async function newContainer(spec: ContainerSpec, { options: { quiet } }: Context): Promise<Container> {
  using bars = openPullProgress(quiet);
  if (spec.pull === 'always') bars.pulling();
  return await Container.create(spec, {
    onProgress: bars.update.bind(bars),
    onMissing: (image) => {
      bars.pulling();
      if (!quiet) process.stderr.write(`Unable to find image '${image}' locally\n`);
    },
  });
}
