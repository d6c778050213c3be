// Shared by the tests of pushing.

import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseSettings } from '../../../../images/registry/settings.js';
import { STORE } from '../../../../images/store/layout.js';
import { pushImage } from '../../../../images/store/push-image.js';
import type { PushOptions, PushProgress } from '../../../../images/types.js';
import { plainLayer, writeLayout } from '../../../fixtures/oci-layout.js';
import type { RunningRegistry } from '../../../fixtures/registry.js';
import { newScene, type Scene, storeOf } from './scene.js';

/** Pushes from a scene's store. The first wait after a failure is 5 ms. */
export async function pushFrom(
  { home }: Scene,
  name: string,
  { settings = {}, ...options }: PushOptions & { settings?: object } = {},
) {
  const progress: PushProgress[] = [];
  const registryOptions = { settings: parseSettings(JSON.stringify(settings), '/settings.json'), delay: 5 };
  const onProgress = (at: PushProgress) => {
    progress.push(at);
    options.onProgress?.(at);
  };
  const pushed = await pushImage(join(home, STORE), name, { ...options, onProgress }, registryOptions);
  const ends = progress.filter(({ phase }) => phase !== 'pushing');
  return { ...pushed, phases: ends.map(({ phase }) => phase) };
}

/**
 * What skopeo says of an image: its manifest's digest and its layers'. Not synchronous: it may need
 * a server of this process.
 */
export async function inspected(name: string, ...options: string[]): Promise<{ Digest: string; Layers: string[] }> {
  const words = ['inspect', '--tls-verify=false', ...options, `docker://${name}`];
  return JSON.parse((await promisify(execFile)('skopeo', words, { timeout: 120_000 })).stdout);
}

/** A store with an image of `layers`, loaded without compression, under `name`. */
export async function made(work: string, layers: Buffer[], name: string): Promise<Scene> {
  const scene = newScene(work);
  const own = mkdtempSync(join(work, 'own-'));
  writeLayout(join(own, 'layout'), layers, { compress: plainLayer });
  const store = storeOf(scene);
  const { digest } = await store.resolve(`oci:${own}/layout`);
  await store.tag(digest, name);
  return scene;
}

/** The tags of a repository in a registry's files. */
export function tagsOf({ storage }: RunningRegistry, repository: string): string[] {
  try {
    return readdirSync(join(storage, 'repositories', repository, '_manifests/tags')).sort();
  } catch {
    return [];
  }
}

/**
 * What a registry keeps of uploads that it has begun and not ended. Of one that was cancelled Docker's
 * registry (2.8) keeps the state of the hash, which it writes as it closes what it has removed.
 */
export function uploadsOf({ storage }: RunningRegistry): string[] {
  const paths = readdirSync(join(storage, 'repositories'), { recursive: true, encoding: 'utf8' });
  return paths.filter((path) => /_uploads\/[^/]+\/(data|startedat)$/.test(path));
}
