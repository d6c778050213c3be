// Creates a container: its record, folder and name. Nothing runs yet.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import type { Image, ImageConfig, Progress } from '../../images/index.js';
import { defined } from '../defined.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder, NewFolder } from '../home/container-folder.js';
import { checkName } from '../home/container-names.js';
import type { ContainerConfig } from '../home/container-record.js';
import { containerMounts, fillVolumes, haveVolumes } from '../home/container-volumes.js';
import type { Home } from '../home/home.js';
import { roomInHome } from '../home/home-size.js';
import type { FileLock } from '../home/lock.js';
import { findSource } from '../home/mount-sources.js';
import { randomName } from '../home/random-name.js';
import { checkRunSpec } from '../spec/check-run-spec.js';
import type { ContainerSpec } from '../spec/container-spec.js';
import { checkHealth, resolveHealth } from '../spec/health.js';
import type { Mount } from '../spec/mounts.js';
import { resolveProcess } from '../spec/process-spec.js';
import { eachPort, formatPort, imagePorts, parseExposed, parsePublished } from '../spec/published-ports.js';
import { signalNumber } from '../spec/signal-number.js';

/** Milliseconds between the stop signal and SIGKILL, as Docker's. */
const STOP_TIMEOUT = 10_000;

export interface CreateOptions {
  /** Called with the progress while an image is pulled and converted. */
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Called before an image is pulled because it is missing. */
  onMissing?: ((reference: string) => void) | undefined;
  /**
   * This process supervises the container. If it is killed before it does, a container with `--rm`
   * is as stale as one whose supervisor was killed later.
   * @internal
   */
  isSupervised?: boolean | undefined;
}

export interface Created {
  folder: ContainerFolder;
  config: ContainerConfig;
  image: Image;
  /** With `isSupervised`. */
  lock?: FileLock | undefined;
}

/**
 * Creates a container. The spec is checked and resolved here, once: runs use the record.
 * @throws SandboxError `bad-spec`, `conflict` if the name is taken, `state`; ImageError
 */
export async function createContainer(home: Home, spec: ContainerSpec, options: CreateOptions = {}): Promise<Created> {
  checkRunSpec(spec);
  checkContainerSpec(spec);
  checkHealth(spec);
  // Neither is needed yet, but without them the container could not be started.
  const { findKernel } = await import('../run/kernel.js');
  await findKernel(spec, { pull: true, isEarly: true });
  home.openRuntime();
  await roomInHome(home.path);
  const store = home.images;
  const { pull = 'missing', platform } = spec;
  const { onMissing, onProgress, isSupervised = false } = options;
  const sources = findSources(home, spec.mounts);
  const image = await store.resolve(spec.image, defined({ pull, platform, onMissing, onProgress }));
  const mounts = containerMounts(home, { ...spec, mounts: sources }, image);
  const id = randomBytes(32).toString('hex');
  const folder = home.containers.folder(id);
  const hostname = spec.hostname ?? folder.shortId;
  const health = resolveHealth(image.config, spec);
  const config: ContainerConfig = {
    id,
    created: new Date().toISOString(),
    image: image.digest,
    spec: { ...spec, mounts },
    hostname,
    // A container without a command runs the agent's `hold` tool. Commands in it get its
    // environment, user and directory.
    ...resolveProcess(image.config, spec.noCommand ? { ...spec, entrypoint: '', command: ['hold'] } : spec, hostname),
    labels: { ...image.config.Labels, ...spec.labels },
    stopSignal: stopSignal(spec, image.config),
    stopTimeout: spec.stopTimeout ?? STOP_TIMEOUT,
    exposed: exposedPorts(spec, image.config),
    ...(health && { health }),
  };
  try {
    // `volume prune` may remove a volume between its filling and the lock. Then fill it again.
    for (;;) {
      await fillVolumes(home, config.spec, image);
      const published = await home.containers.withLock(async () =>
        haveVolumes(home, mounts) ? await publishContainer(home, folder, config, { isSupervised }) : undefined,
      );
      if (published !== undefined) return { folder, config, image, ...published };
    }
  } catch (error) {
    await store.release(id);
    await home.volumes.removeAnonymous(mounts);
    throw error;
  }
}

/**
 * Holds the image, writes the record and claims the name. The caller holds the lock of all containers:
 * whoever has it finds no holder without a container, unless a process was killed.
 * @throws SandboxError `conflict`, `state`; ImageError
 */
export async function publishContainer(
  home: Home,
  folder: ContainerFolder,
  config: ContainerConfig,
  how: NewFolder,
): Promise<{ lock: FileLock | undefined }> {
  const { id } = folder;
  const { spec } = config;
  const { containers } = home;
  // A container that is kept may run again. A machine that runs locks its image.
  if (!spec.autoRemove) await home.images.hold(id, config.image);
  containers.sweep();
  home.sharedFolders.add(spec.mounts ?? []);
  const name = spec.name ?? freeName(home);
  const isFree = containers.names.ownerOf(name) === undefined;
  const lock = isFree ? folder.make(config, how) : undefined;
  containers.names.claim(name, id);
  home.events.record(id, 'create', { image: spec.image, name });
  return { lock };
}

/** @throws SandboxError `bad-spec` for the source of a bind mount */
function findSources({ sharedFolders }: Home, mounts: readonly Mount[] = []): Mount[] {
  return mounts.map((mount) =>
    mount.type === 'bind' ? { ...mount, file: findSource(mount.source, sharedFolders) } : mount,
  );
}

/** @throws SandboxError `bad-spec` */
export function checkContainerSpec({ name, autoRemove, restart, disk, stopSignal: signal }: ContainerSpec): void {
  if (name !== undefined) checkName(name);
  if (autoRemove && restart !== undefined && restart.name !== 'no') {
    throw new SandboxError('bad-spec', 'conflicting options: cannot specify both --restart and --rm');
  }
  if (disk === 'memory' && !autoRemove) {
    throw new SandboxError('bad-spec', 'conflicting options: a layer in memory is lost at each end: add --rm');
  }
  if (signal !== undefined) signalNumber(signal);
}

function freeName({ containers }: Home): string {
  for (let attempt = 0; ; attempt++) {
    const name = randomName(attempt);
    if (containers.names.ownerOf(name) === undefined) return name;
  }
}

/** The ports of image and caller, without duplicates. */
function exposedPorts({ network }: ContainerSpec, { ExposedPorts }: ImageConfig): string[] {
  const { expose = [], publish = [] } = network ?? {};
  const ports = [
    ...imagePorts(ExposedPorts),
    ...expose.flatMap(parseExposed),
    ...eachPort(publish.map(parsePublished)),
  ];
  return [...new Set(ports.map(formatPort))];
}

function stopSignal(spec: ContainerSpec, image: ImageConfig): number {
  if (spec.stopSignal !== undefined) return signalNumber(spec.stopSignal);
  // An image with an invalid signal runs all the same.
  try {
    return image.StopSignal === '' ? constants.signals.SIGTERM : signalNumber(image.StopSignal);
  } catch {
    return constants.signals.SIGTERM;
  }
}
