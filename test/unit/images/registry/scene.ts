// What the tests of pulling have in common: layouts pushed to a registry, a store of its own, and a look at what is in it.

import { execFile } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import type { Progress } from '../../../../images/index.js';
import { parseSettings } from '../../../../images/registry/settings.js';
import { STORE } from '../../../../images/store/layout.js';
import { pullImage } from '../../../../images/store/pull-image.js';
import { openStore } from '../../../../images/store/store.js';
import type { Pulled } from '../../../../images/types.js';
import { Random } from '../../../fixtures/random.js';
import { tar } from '../../../fixtures/tar-writer.js';

/** Three layers: one of some hundred kB that does not compress, and two small ones. */
export function someLayers(seed = 1): Buffer[] {
  return [
    tar([{ path: 'bin' }, { path: 'large', data: new Random(seed).bytes(400_000) }]),
    tar([{ path: 'b', data: `b${seed}` }, { path: '.wh.bin' }]),
    tar([{ path: 'c', data: 'c'.repeat(5000) }]),
  ];
}

/** Copies an image with skopeo. */
export async function skopeo(from: string, to: string, ...options: string[]): Promise<void> {
  await promisify(execFile)('skopeo', ['copy', '--quiet', ...options, from, to], { timeout: 30_000 });
}

/** Pushes a layout's image to a registry that speaks plain HTTP. */
export function push(layout: string, name: string, ...options: string[]): Promise<void> {
  return skopeo(`oci:${layout}`, `docker://${name}`, '--dest-tls-verify=false', ...options);
}

export interface Scene {
  home: string;
  /** Pulls into the scene's store; waits after failures are of a few milliseconds. */
  pull(name: string, options?: { platform?: string; settings?: object }): Promise<Pulled>;
  /** What was told while pulling. */
  progress: Progress[];
  /** Everything in the store, contents and all; what is being made is none of it. */
  contents(): string[];
  /** What lies in the store's tmp/. */
  leftovers(): string[];
}

export function newScene(work: string): Scene {
  const home = mkdtempSync(join(work, 'home-'));
  const progress: Progress[] = [];
  return {
    home,
    progress,
    pull(name, { platform, settings = {} } = {}) {
      const registryOptions = { settings: parseSettings(JSON.stringify(settings), '/settings.json'), delay: 5 };
      return pullImage(
        join(home, STORE),
        name,
        { ...(platform !== undefined && { platform }), onProgress: (at) => progress.push(at) },
        registryOptions,
      );
    },
    contents: () => ['layers', 'images', 'names'].flatMap((folder) => walk(join(home, STORE, folder))),
    leftovers: () => list(join(home, STORE, 'tmp')),
  };
}

export function storeOf({ home }: Scene) {
  return openStore(home);
}

/** A store of which nothing has become. */
export function expectNothing(scene: Scene): void {
  expect([scene.contents(), scene.leftovers()]).toEqual([[], []]);
}

function walk(path: string): string[] {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return [];
  if (!stat.isDirectory()) return [`${path} ${readFileSync(path).toString('base64')}`];
  return list(path).flatMap((name) => walk(join(path, name)));
}

function list(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}
