// Names for completion: what exists on this host.
import { Container, Home, SnapshotStore } from '../../sandbox/internal.js';

/** Names of containers. A container without a name has its short ID. */
export function containerNames(): string[] {
  return Container.list(new Home()).map(({ name, config }) => name ?? config.id.slice(0, 12));
}

/** Names of images, as `NAME:TAG`. */
export async function imageNames(): Promise<string[]> {
  const images = await new Home().images.list();
  return images.flatMap(({ name, tag }) => (name === null ? [] : [`${name}:${tag}`]));
}

/** Names of private networks. */
export function networkNames(): string[] {
  return new Home().networks.list().map(({ name }) => name);
}

/** Names of volumes. */
export function volumeNames(): string[] {
  return new Home().volumes.list().map(({ name }) => name);
}

/** Names of snapshots. */
export function snapshotNames(): string[] {
  return new SnapshotStore(new Home()).list().flatMap(({ name }) => name ?? []);
}
