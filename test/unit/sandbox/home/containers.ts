// Container folders for tests, without images or machines.
import { randomBytes } from 'node:crypto';
import { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import { claimName, withContainersLock } from '../../../../sandbox/home/container-names.js';
import type { ContainerConfig } from '../../../../sandbox/home/container-record.js';
import type { ContainerSpec } from '../../../../sandbox/spec/container-spec.js';

/** The configuration of a container that runs `sleep`. */
export function containerConfig(
  spec: Partial<ContainerSpec> = {},
  id = randomBytes(32).toString('hex'),
): ContainerConfig {
  return {
    id,
    created: new Date().toISOString(),
    image: `sha256:${'0'.repeat(64)}`,
    spec: { image: 'debian:12', command: ['sleep', '1'], ...spec },
    hostname: id.slice(0, 12),
    argv: ['sleep', '1'],
    env: ['PATH=/bin'],
    cwd: '/',
    user: '',
    labels: {},
    stopSignal: 15,
  };
}

/** Makes a folder with a name, as `createContainer` does. */
export async function makeContainer(
  home: string,
  name: string,
  spec: Partial<ContainerSpec> = {},
): Promise<ContainerFolder> {
  const config = containerConfig(spec);
  const folder = new ContainerFolder(home, config.id);
  await withContainersLock(home, () => {
    folder.make(config);
    claimName(home, name, folder.id);
  });
  return folder;
}
