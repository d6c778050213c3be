// Makes container folders for tests, without images or machines.
import { randomBytes } from 'node:crypto';
import type { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import type { ContainerConfig } from '../../../../sandbox/home/container-record.js';
import type { Home } from '../../../../sandbox/home/home.js';
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

/**
 * Makes a container folder with a name, like `createContainer`.
 * @param image digest of an image that is there. Default: that of one that is not
 */
export async function makeContainer(
  { containers }: Home,
  name: string,
  spec: Partial<ContainerSpec> = {},
  image?: string,
): Promise<ContainerFolder> {
  const config = { ...containerConfig(spec), ...(image !== undefined && { image }) };
  const folder = containers.folder(config.id);
  await containers.withLock(() => {
    folder.make(config);
    containers.names.claim(name, folder.id);
  });
  return folder;
}
