// What there is on this machine that an option or an argument may name, for completion.
import { Container, Home } from '../../sandbox/internal.js';

/** Names of containers; the short ID of one without a name. */
export function containerNames(): string[] {
  return Container.list(new Home()).map(({ name, config }) => name ?? config.id.slice(0, 12));
}

/** `NAME:TAG` of the images in the store. */
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
